//! Running the engine's futures for Python: without the GIL, until they end, are cancelled or interrupted.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::available_parallelism;
use std::time::Duration;

use engine::EngineError;
use futures::FutureExt;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{DeltakeepError, raised};

/// How often a waiting call looks for a signal such as Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(100);

/// Threads beyond one for each core, so that work which was left behind and does not yield keeps no other call waiting.
const SPARE_THREADS: usize = 2;

/// Threads that wait for the disk.  Each keeps some memory back, so that hundreds would hold hundreds of megabytes.
const DISK_THREADS: usize = 16;

/// Stack of a thread: plans are walked recursively, and the main thread's eight megabytes have been enough for them.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// The threads of one engine.
pub struct Tasks {
    handle: Handle,
    /// Taken when the engine goes.
    threads: Option<Runtime>,
    cancelled: watch::Sender<u64>,
}

impl Tasks {
    /// Start the threads.
    pub fn new() -> PyResult<Self> {
        let threads = Builder::new_multi_thread()
            .thread_name("deltakeep")
            .worker_threads(available_parallelism().map_or(1, usize::from) + SPARE_THREADS)
            .max_blocking_threads(DISK_THREADS)
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| DeltakeepError::new_err(("engine_defect", format!("no threads: {error}"))))?;
        Ok(Self { handle: threads.handle().clone(), threads: Some(threads), cancelled: watch::channel(0).0 })
    }

    /// End every call that is running now with the code `cancelled`.
    pub fn cancel(&self) {
        self.cancelled.send_modify(|count| *count += 1);
    }

    /// Run a future on the engine's threads and wait for it.
    ///
    /// Work that yields to nobody, such as a join of everything with everything, keeps no signal from being answered:
    /// it is left behind, and ends where it next yields.  Nor may the wait depend on the engine's own timers, which
    /// stand still while all of its threads work.
    pub fn wait<T: Send + 'static>(
        &self,
        py: Python<'_>,
        future: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> PyResult<T> {
        py.detach(|| {
            let cancelled = *self.cancelled.borrow();
            let (sender, receiver) = sync_channel(1);
            let task = self.handle.spawn(async move {
                // A panic is a defect of ours or of a library: it fails the call, not the process.
                let ended = AssertUnwindSafe(future).catch_unwind().await;
                // Nobody waits any more after an interrupt.
                let _ = sender.send(ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))));
            });
            let _task = Abandoned(task);
            loop {
                match receiver.recv_timeout(SIGNAL_CHECK) {
                    Ok(ended) => return ended.map_err(|error| raised(&error)),
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(raised(&EngineError::defect(
                            "engine",
                            "a call ended without an answer".to_owned(),
                        )));
                    }
                    Err(RecvTimeoutError::Timeout) if *self.cancelled.borrow() != cancelled => {
                        return Err(raised(&EngineError::Cancelled));
                    }
                    Err(RecvTimeoutError::Timeout) => interrupted()?,
                }
            }
        })
    }

    /// Wait for a future in this thread, without the way to another one: for looks that cost a request or two.
    pub fn look<T: Send>(
        &self,
        py: Python<'_>,
        future: impl Future<Output = Result<T, EngineError>> + Send,
    ) -> PyResult<T> {
        let mut cancelled = self.cancelled.subscribe();
        py.detach(|| {
            self.handle.block_on(async {
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

impl Drop for Tasks {
    fn drop(&mut self) {
        // What was left behind must not keep the process from ending.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// A task that ends with the one who waits for it.
struct Abandoned(JoinHandle<()>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abort();
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
