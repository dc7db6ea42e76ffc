//! A limit on the memory that images take while they are decoded, all threads together.

use parking_lot::{Condvar, Mutex};

/// Bytes that images may take while they are decoded, all threads together.
pub(crate) const DECODING: u64 = 1 << 30;

/// Lets in as much at once as it has room for; what needs more than all of it comes in alone.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    all: u64,
    left: Mutex<u64>,
    freed: Condvar,
}

pub(crate) struct Permit<'a>(&'a MemoryBudget, u64);

impl MemoryBudget {
    pub(crate) fn new(all: u64) -> MemoryBudget {
        MemoryBudget {
            all,
            left: Mutex::new(all),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn enter(&self, cost: u64) -> Permit<'_> {
        let cost = cost.min(self.all);
        let mut left = self.left.lock();
        while *left < cost {
            self.freed.wait(&mut left);
        }
        *left -= cost;
        Permit(self, cost)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.left.lock() += self.1;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn a_budget_is_kept_and_lets_the_largest_through() {
        let budget = MemoryBudget::new(100);
        let (inside, most) = (Mutex::new(0u64), Mutex::new(0u64));
        (0..200u64).into_par_iter().for_each(|i| {
            let cost = [10, 40, 90, 1000][i as usize % 4];
            let _permit = budget.enter(cost);
            let now = {
                let mut inside = inside.lock();
                *inside += cost.min(100);
                *inside
            };
            let mut most = most.lock();
            *most = (*most).max(now);
            drop(most);
            *inside.lock() -= cost.min(100);
        });
        assert!(*most.lock() <= 100);
        assert_eq!(*budget.left.lock(), 100);
    }
}
