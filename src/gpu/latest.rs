//! A value that is replaced seldom and read without a lock.

use std::sync::OnceLock;

/// A value that may be replaced. Those before it are kept until all are dropped, so that readers
/// borrow the latest and take no lock.
#[derive(Debug)]
pub(crate) struct Latest<T>(OnceLock<Box<Entry<T>>>);

#[derive(Debug)]
struct Entry<T> {
    value: T,
    next: Latest<T>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Latest(OnceLock::new())
    }
}

impl<T> Latest<T> {
    /// Returns the latest value, if there is one.
    pub(crate) fn get(&self) -> Option<&T> {
        let mut found = None;
        let mut rest = self;
        while let Some(entry) = rest.0.get() {
            found = Some(&entry.value);
            rest = &entry.next;
        }
        found
    }

    /// Returns the latest value; where there is none, the one that `make` makes.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(|| Box::new(Entry::of(make())));
        self.get().expect("there is a first value")
    }

    /// Replaces the value.
    pub(crate) fn set(&self, value: T) {
        let mut entry = Box::new(Entry::of(value));
        let mut rest = self;
        while let Err(back) = rest.0.set(entry) {
            entry = back;
            rest = &rest.0.get().expect("it was set").next;
        }
    }
}

impl<T> Entry<T> {
    fn of(value: T) -> Self {
        let next = Latest::default();
        Entry { value, next }
    }
}

#[cfg(test)]
mod tests {
    use super::Latest;

    #[test]
    fn the_latest_counts_and_a_first_one_is_made_once() {
        let values = Latest::default();
        assert_eq!(values.get(), None);
        assert_eq!(*values.get_or_init(|| 1), 1);
        assert_eq!(*values.get_or_init(|| unreachable!()), 1);
        values.set(2);
        values.set(3);
        assert_eq!((values.get(), *values.get_or_init(|| 4)), (Some(&3), 3));
        // One that was set before the first was asked for stays.
        let values = Latest::default();
        values.set(5);
        assert_eq!(*values.get_or_init(|| 6), 5);
    }

    #[test]
    fn none_is_lost_where_threads_set_it_at_once() {
        let values = Latest::default();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let values = &values;
                scope.spawn(move || values.set(n));
            }
        });
        let mut found = Vec::new();
        let mut rest = &values;
        while let Some(entry) = rest.0.get() {
            found.push(entry.value);
            rest = &entry.next;
        }
        found.sort_unstable();
        assert_eq!(found, (0..8).collect::<Vec<_>>());
    }
}
