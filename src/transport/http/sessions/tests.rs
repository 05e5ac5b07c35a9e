//! Sessions over HTTP requests, without a wire.
