//! Tests of what requests in words are read as.

use expect_test::{Expect, expect};
use serde_json::json;

use crate::{
    model::json::Json,
    plan::{
        Limits, check_plan,
        document::testing::{show_plan, with_rules},
    },
};

#[track_caller]
fn check(request: &str, expected: &Expect) {
    let args = json!({ "request": request });
    let json = Json::from_value(&args).unwrap();
    expected.assert_eq(&show_plan(with_rules(Limits::SERVER, |rules| check_plan(&json, rules))));
}

#[test]
fn a_list_behind_a_colon_is_one_task_an_item() {
    check(
        "Generate three ONEX Effect nodes for database operations: user writer, product \
         reader, and order updater",
        &expect![[r#"
            gen-user-writer coder <- []: "Generate user writer Effect node"
              {"contract_description":"ONEX Effect node for database operations: user writer","node_type":"Effect","output_path":"/w/node_user_writer_effect.py"}
            gen-product-reader coder <- []: "Generate product reader Effect node"
              {"contract_description":"ONEX Effect node for database operations: product reader","node_type":"Effect","output_path":"/w/node_product_reader_effect.py"}
            gen-order-updater coder <- []: "Generate order updater Effect node"
              {"contract_description":"ONEX Effect node for database operations: order updater","node_type":"Effect","output_path":"/w/node_order_updater_effect.py"}
            warning: task "gen-user-writer": assumed output_path /w/node_user_writer_effect.py
            warning: task "gen-product-reader": assumed output_path /w/node_product_reader_effect.py
            warning: task "gen-order-updater": assumed output_path /w/node_order_updater_effect.py"#]],
    );
}

#[test]
fn what_validates_both_waits_for_both() {
    check(
        "Generate three ONEX nodes: database writer (Effect), data transformer (Compute), and \
         validate both for quality",
        &expect![[r#"
            gen-database-writer coder <- []: "Generate database writer Effect node"
              {"contract_description":"Effect ONEX node: database writer","node_type":"Effect","output_path":"/w/node_database_writer_effect.py"}
            gen-data-transformer coder <- []: "Generate data transformer Compute node"
              {"contract_description":"Compute ONEX node: data transformer","node_type":"Compute","output_path":"/w/node_data_transformer_compute.py"}
            debug-database-writer debug <- ["gen-database-writer"]: "Validate both for quality: Generate database writer Effect node"
              {"problem_description":"Validate both for quality: Generate database writer Effect node","affected_files":["/w/node_database_writer_effect.py"]}
            debug-data-transformer debug <- ["gen-data-transformer"]: "Validate both for quality: Generate data transformer Compute node"
              {"problem_description":"Validate both for quality: Generate data transformer Compute node","affected_files":["/w/node_data_transformer_compute.py"]}
            warning: task "gen-database-writer": assumed output_path /w/node_database_writer_effect.py
            warning: task "gen-data-transformer": assumed output_path /w/node_data_transformer_compute.py"#]],
    );
}

#[test]
fn then_makes_a_task_wait() {
    check(
        "Investigate why authentication is failing, then generate a fixed version",
        &expect![[r#"
            debug-authentication-failing debug <- []: "Investigate why authentication is failing"
              {"problem_description":"Investigate why authentication is failing"}
            gen-fixed-version coder <- ["debug-authentication-failing"]: "Generate a fixed version"
              {"contract_description":"Generate a fixed version","node_type":"Effect","output_path":"/w/node_fixed_version_effect.py"}
            warning: task "gen-fixed-version": assumed node_type Effect and output_path /w/node_fixed_version_effect.py"#]],
    );
    check(
        "Debug /w/auth.py and /etc/passwd and then generate a fix to /w/fixed.py. Create a log",
        &expect![[r#"
            debug-auth-passwd debug <- []: "Debug /w/auth.py and /etc/passwd"
              {"problem_description":"Debug /w/auth.py and /etc/passwd","affected_files":["/w/auth.py"]}
            gen-fix-fixed coder <- ["debug-auth-passwd"]: "Generate a fix to /w/fixed.py"
              {"contract_description":"Generate a fix to /w/fixed.py","node_type":"Effect","output_path":"/w/fixed.py"}
            gen-log coder <- []: "Create a log"
              {"contract_description":"Create a log","node_type":"Effect","output_path":"/w/node_log_effect.py"}
            warning: "/etc/passwd" is outside every workspace and was left out
            warning: task "gen-fix-fixed": assumed node_type Effect
            warning: task "gen-log": assumed node_type Effect and output_path /w/node_log_effect.py"#]],
    );
}

#[test]
fn and_between_verbs_makes_tasks_side_by_side() {
    check(
        "Debug the existing API endpoint AND generate a new caching layer in parallel",
        &expect![[r#"
            debug-api-endpoint debug <- []: "Debug the existing API endpoint"
              {"problem_description":"Debug the existing API endpoint"}
            gen-caching-layer coder <- []: "Generate a new caching layer"
              {"contract_description":"Generate a new caching layer","node_type":"Reducer","output_path":"/w/node_caching_layer_reducer.py"}
            warning: task "gen-caching-layer": assumed node_type Reducer and output_path /w/node_caching_layer_reducer.py"#]],
    );
    check(
        "Generate a reader and writer, build a cache, and test it; then write docs and update \
         the changelog",
        &expect![[r#"
            gen-reader-writer coder <- []: "Generate a reader and writer"
              {"contract_description":"Generate a reader and writer","node_type":"Effect","output_path":"/w/node_reader_writer_effect.py"}
            gen-cache coder <- []: "Build a cache"
              {"contract_description":"Build a cache","node_type":"Reducer","output_path":"/w/node_cache_reducer.py"}
            debug-reader-writer debug <- ["gen-reader-writer"]: "Test it: Generate a reader and writer"
              {"problem_description":"Test it: Generate a reader and writer","affected_files":["/w/node_reader_writer_effect.py"]}
            debug-cache debug <- ["gen-cache"]: "Test it: Build a cache"
              {"problem_description":"Test it: Build a cache","affected_files":["/w/node_cache_reducer.py"]}
            gen-docs coder <- ["debug-reader-writer", "debug-cache"]: "Write docs"
              {"contract_description":"Write docs","node_type":"Effect","output_path":"/w/node_docs_effect.py"}
            gen-changelog coder <- ["debug-reader-writer", "debug-cache"]: "Update the changelog"
              {"contract_description":"Update the changelog","node_type":"Effect","output_path":"/w/node_changelog_effect.py"}
            warning: task "gen-reader-writer": assumed node_type Effect and output_path /w/node_reader_writer_effect.py
            warning: task "gen-cache": assumed node_type Reducer and output_path /w/node_cache_reducer.py
            warning: task "gen-docs": assumed node_type Effect and output_path /w/node_docs_effect.py
            warning: "Update the changelog" speaks for no agent; coder was chosen
            warning: task "gen-changelog": assumed node_type Effect and output_path /w/node_changelog_effect.py"#]],
    );
}

#[test]
fn lists_of_lines_are_tasks() {
    check(
        "Please do:\n1. Create a parser\n   for dates, e.g. 2026-01-01\n2) fix the login bug\n\
         - [ ] then test all\n",
        &expect![[r#"
            gen-parser-dates-e-g-2026 coder <- []: "Create a parser for dates, e.g. 2026-01-01"
              {"contract_description":"Create a parser for dates, e.g. 2026-01-01","node_type":"Compute","output_path":"/w/node_parser_dates_e_g_2026_compute.py"}
            debug-login-bug debug <- []: "Fix the login bug"
              {"problem_description":"Fix the login bug"}
            debug-parser-dates-e-g-2026 debug <- ["gen-parser-dates-e-g-2026"]: "Test all: Create a parser for dates, e.g. 2026-01-01"
              {"problem_description":"Test all: Create a parser for dates, e.g. 2026-01-01","affected_files":["/w/node_parser_dates_e_g_2026_compute.py"]}
            debug-login-bug-2 debug <- ["debug-login-bug"]: "Test all: Fix the login bug"
              {"problem_description":"Test all: Fix the login bug"}
            warning: task "gen-parser-dates-e-g-2026": assumed node_type Compute and output_path /w/node_parser_dates_e_g_2026_compute.py"#]],
    );
}

#[test]
fn anything_else_is_one_task() {
    check(
        "make it so",
        &expect![[r#"
            gen-so coder <- []: "Make it so"
              {"contract_description":"Make it so","node_type":"Effect","output_path":"/w/node_so_effect.py"}
            warning: task "gen-so": assumed node_type Effect and output_path /w/node_so_effect.py"#]],
    );
    check(
        "…",
        &expect![[r#"
        gen-task coder <- []: "…"
          {"contract_description":"…","node_type":"Effect","output_path":"/w/node_task_effect.py"}
        warning: "…" speaks for no agent; coder was chosen
        warning: task "gen-task": assumed node_type Effect and output_path /w/node_task_effect.py"#]],
    );
    check(
        "\u{202e}debug\u{7} \"x\"",
        &expect![[r#"
        debug-debug-x debug <- []: "\u{202e}debug\u{7} \"x\""
          {"problem_description":"\u{202e}debug\u0007 \"x\""}"#]],
    );
}

#[test]
fn both_are_two() {
    check(
        "Write a parser and a printer, then check both",
        &expect![[r#"
        gen-parser coder <- []: "Write a parser"
          {"contract_description":"Write a parser","node_type":"Compute","output_path":"/w/node_parser_compute.py"}
        gen-printer coder <- []: "Write a printer"
          {"contract_description":"Write a printer","node_type":"Effect","output_path":"/w/node_printer_effect.py"}
        debug-parser debug <- ["gen-parser"]: "Check both: Write a parser"
          {"problem_description":"Check both: Write a parser","affected_files":["/w/node_parser_compute.py"]}
        debug-printer debug <- ["gen-printer"]: "Check both: Write a printer"
          {"problem_description":"Check both: Write a printer","affected_files":["/w/node_printer_effect.py"]}
        warning: task "gen-parser": assumed node_type Compute and output_path /w/node_parser_compute.py
        warning: task "gen-printer": assumed node_type Effect and output_path /w/node_printer_effect.py"#]],
    );
    check(
        "Create a reader, then create a writer, then check both",
        &expect![[r#"
        gen-reader coder <- []: "Create a reader"
          {"contract_description":"Create a reader","node_type":"Effect","output_path":"/w/node_reader_effect.py"}
        gen-writer coder <- ["gen-reader"]: "Create a writer"
          {"contract_description":"Create a writer","node_type":"Effect","output_path":"/w/node_writer_effect.py"}
        debug-reader debug <- ["gen-reader"]: "Check both: Create a reader"
          {"problem_description":"Check both: Create a reader","affected_files":["/w/node_reader_effect.py"]}
        debug-writer debug <- ["gen-writer"]: "Check both: Create a writer"
          {"problem_description":"Check both: Create a writer","affected_files":["/w/node_writer_effect.py"]}
        warning: task "gen-reader": assumed node_type Effect and output_path /w/node_reader_effect.py
        warning: task "gen-writer": assumed node_type Effect and output_path /w/node_writer_effect.py"#]],
    );
}

#[test]
fn a_place_at_the_end_is_no_part_of_a_name() {
    check(
        "Generate nodes: user writer, order reader in src/models/",
        &expect![[r#"
        gen-user-writer coder <- []: "Generate user writer node"
          {"contract_description":"Node: user writer in src/models/","node_type":"Effect","output_path":"/w/node_user_writer_effect.py"}
        gen-order-reader coder <- []: "Generate order reader node"
          {"contract_description":"Node: order reader in src/models/","node_type":"Effect","output_path":"/w/node_order_reader_effect.py"}
        warning: task "gen-user-writer": assumed node_type Effect and output_path /w/node_user_writer_effect.py
        warning: task "gen-order-reader": assumed node_type Effect and output_path /w/node_order_reader_effect.py"#]],
    );
    check(
        "Create a parser in src/models/",
        &expect![[r#"
        gen-parser coder <- []: "Create a parser in src/models/"
          {"contract_description":"Create a parser in src/models/","node_type":"Compute","output_path":"/w/node_parser_compute.py"}
        warning: task "gen-parser": assumed node_type Compute and output_path /w/node_parser_compute.py"#]],
    );
}

#[test]
fn a_request_for_too_much_is_refused_like_any_document() {
    let items: Vec<_> = (0..9_000).map(|it| format!("n{it}")).collect();
    let text = format!("Generate nodes: {}{}", items.join(", "), ". Validate all".repeat(1_000));
    check(
        &text,
        &expect![[r#"
        limit_exceeded at /tasks: "tasks" holds 18000 tasks; at most 10000 are allowed
          hint: split the document, or give it to `parallel-dispatch run`"#]],
    );
}
