//! `/metrics`: what is counted, for scrapers.

use axum::response::Response;

use super::monitor::{Crowd, Monitored, answer};

pub(super) fn metrics(monitored: &dyn Monitored) -> Response {
    answer(200, "text/plain; version=0.0.4; charset=utf-8", page(monitored))
}

/// What is only read when it is asked for comes first: what is counted may say that it is the end.
fn page(monitored: &dyn Monitored) -> String {
    text(monitored.crowd()) + &monitored.metrics()
}

fn text(crowd: Crowd) -> String {
    let Crowd { connections, sessions_awake, sessions_asleep } = crowd;
    format!(
        "# HELP dispatch_connections Open connections.\n\
         # TYPE dispatch_connections gauge\n\
         dispatch_connections {connections}\n\
         # HELP dispatch_sessions Sessions on /mcp, by whether they have a handler.\n\
         # TYPE dispatch_sessions gauge\n\
         dispatch_sessions{{state=\"awake\"}} {sessions_awake}\n\
         dispatch_sessions{{state=\"asleep\"}} {sessions_asleep}\n"
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn clients_are_told_as_gauges() {
        let crowd = Crowd { connections: 3, sessions_awake: 2, sessions_asleep: 1 };
        expect![[r#"
            # HELP dispatch_connections Open connections.
            # TYPE dispatch_connections gauge
            dispatch_connections 3
            # HELP dispatch_sessions Sessions on /mcp, by whether they have a handler.
            # TYPE dispatch_sessions gauge
            dispatch_sessions{state="awake"} 2
            dispatch_sessions{state="asleep"} 1
        "#]]
        .assert_eq(&text(crowd));
    }
}
