//! Running the engine's futures for Python: without the GIL, until they end, are cancelled or interrupted.

use std::future::Future;
use std::time::Duration;

use engine::EngineError;
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
                let mut future = std::pin::pin!(future);
                loop {
                    tokio::select! {
                        result = &mut future => return result.map_err(|error| raised(&error)),
                        _ = cancelled.changed() => return Err(raised(&EngineError::Cancelled)),
                        () = tokio::time::sleep(SIGNAL_CHECK) => Python::attach(|py| py.check_signals())?,
                    }
                }
            })
        })
    }
}
