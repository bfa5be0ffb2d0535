//! A fair memory pool that never makes an exchange between partitions spill.
//!
//! DataFusion 55.2 reads what an exchange spilled in the order in which files were opened, and can wait for good for one
//! that is filled only when another one is read: a query whose partitions spill stops (apache/datafusion#24883).  Exchanges
//! are gated and hold a few batches for each partition; so they get what they ask for, which is counted as everybody's,
//! and the operators beside them spill instead.

use std::fmt::{self, Display, Formatter};

use datafusion::error::Result;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// How the consumers of exchanges are named.
const EXCHANGE: &str = "RepartitionExec";

/// See the module.
#[derive(Debug)]
pub(crate) struct PatientPool(pub FairSpillPool);

impl Display for PatientPool {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl MemoryPool for PatientPool {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.0.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.0.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.0.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.0.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if reservation.consumer().name().starts_with(EXCHANGE) {
            self.0.grow(reservation, additional);
            return Ok(());
        }
        self.0.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.0.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.0.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_exchange_is_never_refused_and_all_others_are() {
        let pool: Arc<dyn MemoryPool> = Arc::new(PatientPool(FairSpillPool::new(100)));
        let reserve = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let groups = reserve("GroupedHashAggregateStream[0]");
        let exchange = reserve("RepartitionExec[0]");
        exchange.try_grow(1000).unwrap();
        assert_eq!(pool.reserved(), 1000);
        groups.try_grow(60).unwrap_err();
        exchange.free();
        groups.try_grow(40).unwrap();
    }
}
