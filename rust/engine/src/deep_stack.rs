//! A stack that deep plans fit on.
//!
//! Plans are trees and nearly everything over them is recursive, encoders and decoders in libraries included.  A query
//! with forty joins overflows the two megabytes of a worker thread there, which ends the process instead of failing.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// Address space for the stack; memory is used only as far as the recursion goes.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` on a deep stack and returns its result.
pub fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    scope(|scope| {
        let thread = Builder::new().name("planning".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(result) => Ok(result),
            Err(panic) => resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_recursion_fits() {
        fn depth(left: u32) -> u64 {
            let weight = [u64::from(left); 256];
            if left == 0 { 0 } else { std::hint::black_box(weight)[0].min(1) + depth(left - 1) }
        }
        assert_eq!(on_deep_stack(|| depth(20_000)).unwrap(), 20_000);
    }
}
