//! Where traces go: by the settings, and by the variables of OpenTelemetry.

use expect_test::expect;

use super::{Machine, USER, WORKSPACE, check_user};

fn url(machine: &Machine) -> Option<String> {
    machine.load().unwrap().settings.telemetry.otlp.url()
}

#[test]
fn nothing_is_told_unless_somebody_says_where() {
    assert_eq!(url(&Machine::new(&[])), None);
    let machine = Machine::new(&[(USER, "telemetry: {otlp: {service_name: x}}")]);
    assert_eq!(url(&machine), None);
}

#[test]
fn an_endpoint_gets_the_path_of_traces_and_one_for_traces_is_as_it_is() {
    let at = |it: &str| Machine::new(&[(USER, &format!("telemetry: {{otlp: {{{it}}}}}"))]);
    let machine = at("endpoint: 'http://c:4318'");
    assert_eq!(url(&machine).unwrap(), "http://c:4318/v1/traces");
    let machine = at("endpoint: 'https://c/otlp/'");
    assert_eq!(url(&machine).unwrap(), "https://c/otlp/v1/traces");
    let machine = at("endpoint: 'http://c', traces_endpoint: 'http://d/own'");
    assert_eq!(url(&machine).unwrap(), "http://d/own");
    assert_eq!(url(&at("endpoint: 'http://c', enabled: false")), None);
}

#[test]
fn the_variables_of_opentelemetry_are_a_layer() {
    let machine = Machine::new(&[(
        USER,
        "telemetry: {otlp: {endpoint: 'http://file:1', headers: {API-Key: weaker}}}",
    )])
    .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")
    .with("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret%2Cx, X-B = 2")
    .with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    .with("OTEL_SERVICE_NAME", "mine")
    .with("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=a,team=b%20c");
    machine.check(&expect![[r#"
        telemetry.otlp.endpoint = http://c:4318/  (environment OTEL_EXPORTER_OTLP_ENDPOINT)
        telemetry.otlp.headers.api-key = (hidden)  (environment OTEL_EXPORTER_OTLP_HEADERS)
        telemetry.otlp.headers.x-b = (hidden)  (environment OTEL_EXPORTER_OTLP_HEADERS)
        telemetry.otlp.protocol = http/json  (environment OTEL_EXPORTER_OTLP_PROTOCOL)
        telemetry.otlp.resource_attributes = ["service.namespace=a","team=b c"]  (environment OTEL_RESOURCE_ATTRIBUTES)
        telemetry.otlp.service_name = mine  (environment OTEL_SERVICE_NAME)"#]]);
    let otlp = machine.load().unwrap().settings.telemetry.otlp;
    assert_eq!(otlp.headers["api-key"].resolve().unwrap(), "s3cret,x");
    assert_eq!(otlp.url().unwrap(), "http://c:4318/v1/traces");
    assert!(!format!("{otlp:?}").contains("s3cret"));
}

#[test]
fn what_others_mean_by_the_variables_keeps_no_server_from_starting() {
    let machine = Machine::new(&[])
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")
        .with("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .with("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")
        .with("OTEL_RESOURCE_ATTRIBUTES", "a,b=%zz");
    let loaded = machine.load().unwrap();
    assert_eq!(loaded.settings.telemetry.otlp.url(), None);
    let warnings = loaded.warnings.join("\n");
    assert_eq!(loaded.warnings.len(), 3, "{warnings}");
    assert!(warnings.contains("is grpc, which is not spoken here"), "{warnings}");
    assert!(!warnings.contains("s3cret"), "{warnings}");
    let wrong = Machine::new(&[]).with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@c");
    let loaded = wrong.load().unwrap();
    assert_eq!(loaded.settings.telemetry.otlp.url(), None);
    assert!(!loaded.warnings.join("").contains("s3cret"), "{:?}", loaded.warnings);
}

#[test]
fn the_sdk_can_be_switched_off_for_a_whole_session() {
    for (name, value) in [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")] {
        let machine = Machine::new(&[]).with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        assert!(url(&machine).is_some());
        assert_eq!(url(&machine.with(name, value)), None, "{name}");
    }
}

#[test]
fn wrong_settings_are_refused_with_their_place() {
    check_user(
        "telemetry:\n  otlp:\n    endpoint: collector:4318\n    sample_ratio: 2\n    protocol: grpc\n    \
         resource_attributes: [x]\n    headers: {'a b': c}\n",
        &expect![[r#"
            @/home/.config/parallel-dispatch/config.yaml:3: telemetry.otlp.endpoint: must begin with http:// or https://
            @/home/.config/parallel-dispatch/config.yaml:4: telemetry.otlp.sample_ratio: must be a number from 0 to 1, is 2
            @/home/.config/parallel-dispatch/config.yaml:5: telemetry.otlp.protocol: must be one of http/protobuf, http/json, is "grpc"
            @/home/.config/parallel-dispatch/config.yaml:6: telemetry.otlp.resource_attributes: must hold texts of the form name=value of at most 1024 bytes
            @/home/.config/parallel-dispatch/config.yaml:7: telemetry.otlp.headers.a b: a header's name is 1 to 64 letters, digits, `_` and `-`"#]],
    );
}

#[test]
fn a_workspace_sends_nothing_elsewhere() {
    let theirs = "telemetry: {otlp: {endpoint: 'http://evil'}}";
    let errors = Machine::new(&[(WORKSPACE, theirs)]).load().unwrap_err();
    assert!(errors.to_string().contains("telemetry.otlp.endpoint"), "{errors}");
}

#[test]
fn the_trace_that_the_program_was_started_in_is_taken_if_it_is_one() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let machine =
        |it: &str| Machine::new(&[]).with("TRACEPARENT", it).load().unwrap().settings.trace;
    assert_eq!(machine(parent).unwrap().traceparent(), parent);
    assert_eq!(machine("x"), None);
}
