//! What planning a refresh leaves for the refresh itself: the request as it was read, and its inputs, opened.
//!
//! A request is its own identity: what was left is found by the very text of the request, and used once.  Everything in
//! it is pinned, so a refresh that finds nothing left does the same, only later.

use crate::error::{EngineError, Result};
use crate::inputs::Inputs;
use crate::planning;
use crate::recent::Recent;
use crate::refresh::{self, Observer};
use crate::request::{RefreshPlan, RefreshRequest, RefreshResult};
use crate::session::EngineSession;

/// Plans that wait for their refresh; more than views run at once.
const CAPACITY: usize = 16;

/// What was left.
struct Handover {
    request: RefreshRequest,
    inputs: Inputs,
}

/// What was left by plans whose refresh has not run.
pub(crate) struct Handovers(Recent<String, Handover>);

impl Handovers {
    pub fn new() -> Self {
        Self(Recent::new(CAPACITY))
    }
}

/// Plan the refresh that a JSON text asks for; nothing is written.
pub async fn plan_refresh(session: &EngineSession, text: &str) -> Result<RefreshPlan> {
    let request = read(text)?;
    let (plan, inputs) = planning::plan_refresh(session, &request).await?;
    session.handovers().0.put(text.to_owned(), Handover { request, inputs });
    Ok(plan)
}

/// Run the refresh that a JSON text asks for, with what planning it has left, if it was planned.
pub async fn run_refresh(session: &EngineSession, text: &str, observer: Observer<'_>) -> Result<RefreshResult> {
    let (request, inputs) = match session.handovers().0.take(&text.to_owned()) {
        Some(left) => (left.request, Some(left.inputs)),
        None => (read(text)?, None),
    };
    refresh::refresh(session, &request, inputs, observer).await
}

fn read(text: &str) -> Result<RefreshRequest> {
    serde_json::from_str(text)
        .map_err(|error| EngineError::InvalidArgument { message: format!("the request cannot be read: {error}") })
}
