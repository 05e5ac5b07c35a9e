//! The `parallel-dispatch` program.

fn main() -> std::process::ExitCode {
    parallel_dispatch::app::main()
}
