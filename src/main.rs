//! The `parallel-dispatch` program.

fn main() {}
