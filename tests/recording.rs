//! Counts of the host's work to record a training step, a step of a prior and a code that is drawn:
//! calls of the driver, copies, allocations, locks. Its own binary, for the allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wgvq::bench;
use wgvq::gpu::{Counters, Gpu, Options, locks_taken};

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is the system's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The counts over some calls.
#[derive(Debug)]
struct Counted {
    /// The engine's counters.
    gpu: Counters,
    /// Allocations of this thread, wgpu's included.
    allocations: u64,
    /// Locks of the engine's, by this thread.
    locks: u64,
}

/// Counts a call of a workload that was called before, so that kernels are compiled, buffers
/// pooled and bind groups known.
fn counted(gpu: &Gpu, workload: &str) -> Counted {
    let mut prepared = bench::find(workload).unwrap().prepare(gpu, 1).unwrap();
    for _ in 0..2 {
        (prepared.call)().unwrap();
        gpu.finish().unwrap();
    }
    let now = || (gpu.counters(), ALLOCATIONS.with(Cell::get), locks_taken());
    let (before, allocations, locks) = now();
    (prepared.call)().unwrap();
    gpu.flush().unwrap();
    let (after, allocations, locks) = (now().0, now().1 - allocations, now().2 - locks);
    gpu.finish().unwrap();
    let gpu = Counters {
        dispatches: after.dispatches - before.dispatches,
        passes: after.passes - before.passes,
        pipelines: after.pipelines - before.pipelines,
        bindings: after.bindings - before.bindings,
        bind_groups: after.bind_groups - before.bind_groups,
        copies: after.copies - before.copies,
        copied_bytes: after.copied_bytes - before.copied_bytes,
        submissions: after.submissions - before.submissions,
        readbacks: after.readbacks - before.readbacks,
        submitting: after.submitting - before.submitting,
    };
    let counted = Counted {
        gpu,
        allocations,
        locks,
    };
    println!("{workload}: {counted:#?}");
    counted
}

/// The most that a call may take, what wgpu takes to submit left out: how often work is submitted
/// depends on the pace of the machine.
struct Most {
    bind_groups: u64,
    copies: u64,
    allocations: u64,
    locks: u64,
}

/// The allocations that a submission adds, for wgpu's encoder, pass and command buffer.
const ALLOCATIONS_PER_SUBMISSION: u64 = 60;
const LOCKS_PER_SUBMISSION: u64 = 4;

fn holds(workload: &str, most: Most) {
    let gpu = Gpu::new(Options::default()).expect("an adapter; scripts/test.sh installs one");
    let counted = counted(&gpu, workload);
    let submissions = counted.gpu.submissions;
    let allocations = most.allocations + ALLOCATIONS_PER_SUBMISSION * submissions;
    let locks = most.locks + LOCKS_PER_SUBMISSION * submissions;
    let pairs = [
        ("bind groups", counted.gpu.bind_groups, most.bind_groups),
        ("copies", counted.gpu.copies, most.copies),
        ("allocations", counted.allocations, allocations),
        ("locks", counted.locks, locks),
    ];
    for (what, count, most) in pairs {
        assert!(count <= most, "{workload}: {count} {what}, {most} at most");
    }
    // Nothing is counted that is not there.
    assert!(counted.gpu.passes <= submissions + counted.gpu.copies + 1);
    assert!(counted.gpu.pipelines <= counted.gpu.dispatches);
    assert!(counted.gpu.dispatches > 0 && counted.allocations > 0 && counted.locks > 0);
}

/// A batch of one is recorded as a large one is, and computed sooner.
#[test]
fn a_training_step() {
    holds(
        "vqvae_train_step_b1",
        Most {
            bind_groups: 0,
            copies: 0,
            allocations: 450,
            locks: 280,
        },
    );
}

#[test]
fn a_step_of_a_prior() {
    holds(
        "prior_train_l4_d192_t49_k512_b1",
        Most {
            bind_groups: 0,
            copies: 0,
            allocations: 800,
            locks: 500,
        },
    );
}

/// 49 codes of an image, each after those before it; two copies bring them to the host.
#[test]
fn codes_drawn() {
    holds(
        "prior_sample_cached_l4_d192_t49_k512_n1",
        Most {
            bind_groups: 0,
            copies: 2,
            allocations: 11_000,
            locks: 8_900,
        },
    );
}
