//! Signals that ask a command to stop, from a terminal, by another program, or because the terminal
//! closed.

use crate::cli::common::output;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Left at once, by a second Ctrl-C: nothing was saved, so this is not the code of what was
/// interrupted and saved.
const LEFT_AT_ONCE: i32 = 1;

static STOP: AtomicBool = AtomicBool::new(false);
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// Returns the flag that the first signal sets which asks the command to stop. More of them change
/// nothing: the save has begun, and only a second Ctrl-C leaves without it. A signal that was
/// ignored when the program began, as `nohup` and shells' background jobs have it, stays ignored.
pub fn stop_flag() -> &'static AtomicBool {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(listen);
    &STOP
}

/// Does what Ctrl-C does, where a terminal hands it over as a key.
pub fn interrupt() {
    count(true);
}

/// A signal came; `interrupt` is Ctrl-C's. Nothing here may panic: there may be nobody left to read
/// what is said.
fn count(interrupt: bool) {
    let first = !STOP.swap(true, Ordering::Relaxed);
    let before = INTERRUPTS.fetch_add(u32::from(interrupt), Ordering::Relaxed);
    if before + u32::from(interrupt) > 1 {
        output::leave_screen();
        output::anyway("left at once: what came after the last checkpoint is not saved");
        leave();
    } else if interrupt {
        output::break_line();
        output::anyway("finishing this step and saving; Ctrl-C again leaves at once");
    } else if first {
        output::anyway("finishing this step and saving");
    }
}

#[cfg(unix)]
fn leave() -> ! {
    // Without what runs at an ordinary exit: other threads are at work still.
    signal_hook::low_level::exit(LEFT_AT_ONCE)
}

#[cfg(not(unix))]
fn leave() -> ! {
    std::process::exit(LEFT_AT_ONCE)
}

#[cfg(unix)]
fn listen() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let wanted = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| !is_ignored(*signal));
    // Where no handler can be set, signals do what they do by default.
    let Ok(mut signals) = signal_hook::iterator::Signals::new(wanted) else {
        return;
    };
    std::thread::spawn(move || signals.forever().for_each(|signal| count(signal == SIGINT)));
}

/// Whether the program was started with this signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one to `now`, of which all
    // zeros is a valid value.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(windows)]
fn listen() {
    // Fails where a handler is set already: then Ctrl-C does what that one does.
    let _ = ctrlc::set_handler(|| count(true));
}

#[cfg(not(any(unix, windows)))]
fn listen() {}

/// Ignores the signals that ask to stop, in a process that stops when another says so.
pub fn leave_to_rank_0() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Where no handler can be set, signals do what they do by default.
            let _ = signal_hook::flag::register(signal, std::sync::Arc::default());
        }
    }
}
