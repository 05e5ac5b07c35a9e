//! Resources, their templates and changes, completion and prompts, over every transport and in
//! every revision of the protocol.

use std::collections::BTreeMap;

use rmcp::{
    model::{
        ErrorCode, GetPromptRequestParams, ProtocolVersion, ReadResourceRequestParams, Resource,
        ResourceContents, UnsubscribeRequestParams,
    },
    service::ServiceError,
};
use serde_json::{Value, json};

use crate::{
    client::{Client, Face, LISTS, id_of},
    faces::over_every_face,
    space::{TestSpace, document, within},
    standin::StandIn,
};

const NOBODY: &str = "01900000-0000-7000-8000-000000000000";

over_every_face! {
    shows_what_there_is_to_read => e2e_stdio_shows_what_there_is_to_read,
        e2e_http_shows_what_there_is_to_read, e2e_sse_shows_what_there_is_to_read;
    reads_what_is_there => e2e_stdio_reads_what_is_there, e2e_http_reads_what_is_there,
        e2e_sse_reads_what_is_there;
    tells_what_has_changed => e2e_stdio_tells_what_has_changed, e2e_http_tells_what_has_changed,
        e2e_sse_tells_what_has_changed;
    completes_what_is_typed => e2e_stdio_completes_what_is_typed,
        e2e_http_completes_what_is_typed, e2e_sse_completes_what_is_typed;
    prompts_for_the_work => e2e_stdio_prompts_for_the_work, e2e_http_prompts_for_the_work,
        e2e_sse_prompts_for_the_work;
}

async fn open(face: Face, version: &ProtocolVersion) -> (StandIn, TestSpace, Client) {
    let standin = StandIn::start().await;
    let space = TestSpace::with(&standin);
    let client = face.open(&space, version).await;
    (standin, space, client)
}

/// The text of a resource, and its type.
async fn read(client: &Client, uri: &str) -> (String, String) {
    let result = within(client.peer().read_resource(ReadResourceRequestParams::new(uri))).await;
    let result = result.unwrap();
    let is_new = client.version() >= ProtocolVersion::V_2026_07_28;
    assert_eq!((result.ttl_ms.is_some(), result.cache_scope.is_some()), (is_new, is_new), "{uri}");
    let [ResourceContents::TextResourceContents { uri: of, mime_type, text, .. }] =
        &result.contents[..]
    else {
        panic!("{uri} is {result:?}");
    };
    assert_eq!(of, uri);
    (text.clone(), mime_type.clone().unwrap())
}

async fn read_json(client: &Client, uri: &str) -> Value {
    let (text, mime) = read(client, uri).await;
    assert_eq!(mime, "application/json");
    serde_json::from_str(&text).unwrap()
}

/// Why a resource cannot be read.
async fn unreadable(client: &Client, uri: &str) -> (ErrorCode, String) {
    let result = within(client.peer().read_resource(ReadResourceRequestParams::new(uri))).await;
    let Err(ServiceError::McpError(error)) = result else { panic!("{uri} is {result:?}") };
    (error.code, error.message.into_owned())
}

async fn listed(client: &Client) -> BTreeMap<String, Resource> {
    let resources = within(client.peer().list_all_resources()).await.unwrap();
    resources.into_iter().map(|it| (it.uri.clone(), it)).collect()
}

async fn shows_what_there_is_to_read(face: Face, version: &ProtocolVersion) {
    let (_standin, space, client) = open(face, version).await;
    let capabilities = &client.server()["capabilities"];
    assert_eq!(capabilities["resources"], json!({ "subscribe": true, "listChanged": true }));
    assert!(capabilities["prompts"].is_object() && capabilities["completions"].is_object());
    assert_eq!(listed(&client).await.keys().collect::<Vec<_>>(), ["settings://agents"]);

    let tasks = document(&space, &[("a", "coder", &[]), ("b", "failing", &[])]);
    let plan = client.ask("plan_tasks", tasks.clone()).await;
    let id = id_of(&client.ask("dispatch", tasks).await);
    let resources = listed(&client).await;
    assert_eq!(resources.len(), 3);
    let dispatch = &resources[&format!("dispatch://{id}")];
    assert!(dispatch.title.as_ref().unwrap().ends_with(", partial"), "{dispatch:?}");
    let description = dispatch.description.as_deref();
    assert_eq!(description, Some("2 tasks: 1 successful, 1 without success, 0 open"));
    assert_eq!(dispatch.mime_type.as_deref(), Some("application/json"));
    assert!(dispatch.annotations.as_ref().unwrap().last_modified.is_some());
    let uri = format!("plan://{}", plan["plan_id"].as_str().unwrap());
    assert_eq!(resources[&uri].mime_type.as_deref(), Some("text/markdown"));

    let templates = within(client.peer().list_all_resource_templates()).await.unwrap();
    let templates: Vec<_> = templates.iter().map(|it| it.uri_template.as_str()).collect();
    assert_eq!(
        templates,
        [
            "dispatch://{id}",
            "dispatch://{id}/tasks/{task_id}",
            "trace://{id}/{task_id}",
            "plan://{id}",
        ]
    );
}

async fn reads_what_is_there(face: Face, version: &ProtocolVersion) {
    let (_standin, space, client) = open(face, version).await;
    let tasks = document(&space, &[("one", "big", &[]), ("two", "big", &["one"])]);
    let plan = client.ask("plan_tasks", tasks.clone()).await;
    let result = client.ask("dispatch", tasks.clone()).await;
    let id = id_of(&result);

    let standing = read_json(&client, &format!("dispatch://{id}")).await;
    let summary = json!({ "dispatch_id": id, "view": "summary" });
    assert_eq!(standing, client.ask("get_result", summary.clone()).await);
    let task = read_json(&client, &format!("dispatch://{id}/tasks/two")).await;
    assert_eq!(task["output"]["text"].as_str().unwrap().chars().count(), 30_000);
    assert_eq!(read_json(&client, &format!("dispatch://{id}/tasks/%74wo")).await, task);
    let trace = read_json(&client, &format!("trace://{id}/one")).await;
    let wanted = json!({ "dispatch_id": id, "task_id": "one" });
    assert_eq!(trace, client.ask("read_trace", wanted).await);
    let (page, mime) =
        read(&client, &format!("plan://{}", plan["plan_id"].as_str().unwrap())).await;
    assert_eq!(mime, "text/markdown");
    assert!(page.contains("Critical path: one, two"), "{page}");
    assert!(page.contains("```mermaid\nflowchart TD\n"), "{page}");
    let agents = read_json(&client, "settings://agents").await;
    let coder = agents.as_array().unwrap().iter().find(|it| it["name"] == "coder").unwrap();
    assert_eq!(
        (&coder["is_available"], &coder["served_by"]),
        (&json!(true), &json!("archon/coder"))
    );

    let is_new = *version >= ProtocolVersion::V_2026_07_28;
    let not_found = if is_new { ErrorCode::INVALID_PARAMS } else { ErrorCode::RESOURCE_NOT_FOUND };
    for (uri, code, part) in [
        (format!("dispatch://{NOBODY}"), not_found, "there is no dispatch"),
        (format!("dispatch://{id}/tasks/tow"), not_found, "did you mean \"two\"?"),
        (format!("trace://{id}/x"), not_found, "has no task"),
        (format!("plan://{NOBODY}"), not_found, "there is no plan"),
        ("file:///etc/passwd".to_owned(), not_found, "there is no resource"),
        ("dispatch://1".to_owned(), ErrorCode::INVALID_PARAMS, "an id is a UUID"),
        (format!("trace://{id}/%2e%2"), ErrorCode::INVALID_PARAMS, "hexadecimal digits"),
    ] {
        let (found, message) = unreadable(&client, &uri).await;
        assert!(found == code && message.contains(part), "{uri}: {found:?} {message}");
    }

    let links = client.links("get_result", summary).await;
    let of = |name: &str| format!("dispatch://{id}/tasks/{name}");
    let knows_links = *version >= ProtocolVersion::V_2025_06_18;
    let wanted =
        if knows_links { vec![format!("dispatch://{id}"), of("one"), of("two")] } else { vec![] };
    assert_eq!(links, wanted);
}

async fn tells_what_has_changed(face: Face, version: &ProtocolVersion) {
    let (standin, space, client) = open(face, version).await;
    let mut tasks = document(&space, &[("held", "gate", &[]), ("after", "coder", &["held"])]);
    tasks["wait"] = json!(false);
    let [first, second] = [(); 2].map(|()| client.ask("dispatch", tasks.clone()));
    let (first, second) = (id_of(&first.await), id_of(&second.await));
    standin.at_gate(2).await;
    let whole = [first, second].map(|it| format!("dispatch://{it}"));
    let after = format!("dispatch://{second}/tasks/after");
    client.follow(&[whole[0].clone(), whole[1].clone(), after.clone()]).await;
    if *version < ProtocolVersion::V_2026_07_28 {
        let unsubscribe = UnsubscribeRequestParams::new(whole[0].clone());
        #[expect(deprecated, reason = "it is what these revisions have")]
        within(client.peer().unsubscribe(unsubscribe)).await.unwrap();
        let unknown = rmcp::model::SubscribeRequestParams::new(format!("dispatch://{NOBODY}"));
        #[expect(deprecated, reason = "it is what these revisions have")]
        within(client.peer().subscribe(unknown)).await.unwrap_err();
    }
    let cancel = json!({ "dispatch_id": first });
    client.ask("cancel_dispatch", cancel).await;
    // Nobody knows which of the two calls is let go of first.
    standin.release(2);
    let wait = json!({ "dispatch_id": second, "wait_ms": 20_000 });
    client.ask("get_result", wait).await;
    let news = client.news(&[&whole[1], &after, LISTS], 1).await;
    if *version < ProtocolVersion::V_2026_07_28 {
        assert!(!news.contains(&whole[0]), "nobody wants to know: {news:?}");
    }
    let dispatch = read_json(&client, &whole[1]).await;
    assert_eq!(dispatch["status"], "success");
    assert!(news.len() < 20, "{news:?}");
}

async fn completes_what_is_typed(face: Face, version: &ProtocolVersion) {
    let (_standin, space, client) = open(face, version).await;
    let tasks = document(
        &space,
        &[("write-a", "coder", &[]), ("write-b", "coder", &[]), ("look", "debug", &[])],
    );
    let plan = client.ask("plan_tasks", tasks.clone()).await;
    let plan = plan["plan_id"].as_str().unwrap().to_owned();
    let older = id_of(&client.ask("dispatch", tasks.clone()).await).to_string();
    let newer = id_of(&client.ask("dispatch", tasks).await).to_string();
    let resource = async |uri: &str, name: &str, typed: &str, chosen: &[(&str, &str)]| {
        let chosen = chosen.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
        let context = rmcp::model::CompletionContext::with_arguments(chosen.collect());
        let found = client.peer().complete_resource_argument(uri, name, typed, Some(context));
        within(found).await.unwrap()
    };
    let all = resource("dispatch://{id}", "id", "", &[]).await;
    assert_eq!(
        (all.values, all.total, all.has_more),
        (vec![newer.clone(), older.clone()], Some(2), Some(false))
    );
    let one = resource("dispatch://{id}/tasks/{task_id}", "id", &older[..35], &[]).await;
    assert!(one.values.contains(&older), "{one:?}");
    assert_eq!(resource("plan://{id}", "id", &plan[..10], &[]).await.values, [plan]);
    let task = "dispatch://{id}/tasks/{task_id}";
    let tasks = resource(task, "task_id", "write", &[("id", &newer)]).await;
    assert_eq!(
        (tasks.values, tasks.total),
        (vec!["write-a".to_owned(), "write-b".to_owned()], Some(2))
    );
    assert_eq!(resource(task, "task_id", "", &[]).await.values.len(), 0);
    let prompt = async |name: &str, argument: &str, typed: &str| {
        within(client.peer().complete_prompt_argument(name, argument, typed, None)).await
    };
    assert_eq!(prompt("review-results", "dispatch_id", &newer).await.unwrap().values, [newer]);
    assert_eq!(
        prompt("plan-and-dispatch", "agent", "co").await.unwrap().values,
        ["coder", "costly"]
    );
    assert_eq!(prompt("debug-then-fix", "affected_files", "/").await.unwrap().values.len(), 0);
    prompt("review", "dispatch_id", "").await.unwrap_err();
    prompt("review-results", "id", "").await.unwrap_err();
}

async fn prompts_for_the_work(face: Face, version: &ProtocolVersion) {
    let (_standin, space, client) = open(face, version).await;
    let prompts = within(client.peer().list_all_prompts()).await.unwrap();
    let names: Vec<_> = prompts.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["plan-and-dispatch", "debug-then-fix", "review-results"]);
    let get = async |name: &str, arguments: Value| {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let request = GetPromptRequestParams::new(name).with_arguments(arguments);
        within(client.peer().get_prompt(request)).await
    };
    let request = "write a lexer; then ---data---";
    let plan = get("plan-and-dispatch", json!({ "request": request })).await.unwrap();
    let text = &plan.messages[0].content.as_text().unwrap().text;
    assert!(text.ends_with(&format!("---data-1--- request\n{request}\n---data-1---")), "{text}");

    let tasks = document(&space, &[("good", "coder", &[]), ("bad", "failing", &[])]);
    let id = id_of(&client.ask("dispatch", tasks).await);
    let review = get("review-results", json!({ "dispatch_id": id })).await.unwrap();
    let [_, shown] = &review.messages[..] else { panic!("{review:?}") };
    let shown = json!(shown.content);
    assert_eq!(shown["resource"]["uri"], format!("dispatch://{id}"));
    let shown: Value = serde_json::from_str(shown["resource"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(shown, read_json(&client, &format!("dispatch://{id}")).await);

    for (name, arguments) in [
        ("review-results", json!({})),
        ("review-results", json!({ "dispatch_id": NOBODY })),
        ("plan-and-dispatch", json!({ "request": "a", "files": "b" })),
        ("plan", json!({})),
    ] {
        let error = get(name, arguments).await.unwrap_err();
        assert!(error.to_string().contains(": "), "it has a hint: {error}");
    }
}
