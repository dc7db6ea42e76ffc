//! The command line: parses, calls the library, prints.

mod cli;

fn main() -> std::process::ExitCode {
    quiet_mesa();
    cli::main()
}

/// Mesa complains on every start where this is unset, as in a container, though nothing here opens
/// a window.
fn quiet_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}
