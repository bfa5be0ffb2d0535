//! Running the engine's futures for Python: without the GIL, until they end, are cancelled or interrupted.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use engine::EngineError;
use futures::FutureExt;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::error::{DeltakeepError, raised};

/// How often a waiting call looks for a signal such as Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(100);

/// The threads of one engine.
pub struct Tasks {
    runtime: Runtime,
    cancelled: watch::Sender<u64>,
}

impl Tasks {
    /// Start the threads.
    pub fn new() -> PyResult<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("deltakeep")
            .enable_all()
            .build()
            .map_err(|error| DeltakeepError::new_err(("engine_defect", format!("no threads: {error}"))))?;
        Ok(Self { runtime, cancelled: watch::channel(0).0 })
    }

    /// End every call that is running now with the code `cancelled`.
    pub fn cancel(&self) {
        self.cancelled.send_modify(|count| *count += 1);
    }

    /// Wait for a future.
    pub fn wait<T: Send>(
        &self,
        py: Python<'_>,
        future: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> PyResult<T> {
        let mut cancelled = self.cancelled.subscribe();
        py.detach(|| {
            self.runtime.block_on(async {
                // A panic is a defect of ours or of a library: it fails the call, not the process.
                let mut future = std::pin::pin!(AssertUnwindSafe(future).catch_unwind());
                loop {
                    tokio::select! {
                        ended = &mut future => {
                            return ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map_err(|error| raised(&error));
                        }
                        _ = cancelled.changed() => return Err(raised(&EngineError::Cancelled)),
                        () = tokio::time::sleep(SIGNAL_CHECK) => interrupted()?,
                    }
                }
            })
        })
    }
}

/// Fails if a signal's handler raised, as that of Ctrl-C does.
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method is not general enough over its lifetime")]
fn interrupted() -> PyResult<()> {
    Python::attach(|py| py.check_signals())
}

/// The error that a panic is told as.
fn panicked(panic: &(dyn Any + Send)) -> EngineError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    EngineError::defect("engine", format!("it panicked: {text}"))
}
