//! Snapshots of what the tools for workers take and refuse.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{testing::show_faults, work::*};
use crate::model::{
    AgentName, ClaimRequest, CompleteRequest, FailRequest, HeartbeatRequest, Refusal, json::Json,
};

const LEASE: &str = "01890a5d-ac96-474b-bcce-b302099a8057";

#[track_caller]
fn check<T: serde::Serialize>(
    read: impl Fn(&Json<'_>) -> Result<T, Refusal>,
    args: &Value,
    expected: &Expect,
) {
    let read = read(&Json::from_value(args).unwrap());
    let shown = match read {
        Ok(request) => serde_json::to_string(&request).unwrap(),
        Err(refusal) => show_faults(&refusal),
    };
    expected.assert_eq(&shown);
}

fn claim(args: &Json<'_>) -> Result<ClaimRequest, Refusal> {
    check_claim(args, &["coder", "reviewer"].map(AgentName::new))
}

#[test]
fn a_claim_names_a_worker_and_may_name_agents() {
    check(claim, &json!({"worker": "w"}), &expect![[""]]);
    let aliased = json!({"worker": "w", "agents": ["agent_coder", "reviewer"], "wait_ms": 0});
    check(claim, &aliased, &expect![[""]]);
    let wrong = json!({"worker": " ", "agents": ["revewer", 1], "wait_ms": 60_001, "x": 1});
    check(claim, &wrong, &expect![[""]]);
    check(claim, &json!({"agents": []}), &expect![[""]]);
    check(claim, &json!([]), &expect![[""]]);
}

#[test]
fn a_heartbeat_names_a_lease() {
    check(check_heartbeat, &json!({"lease": LEASE}), &expect![[""]]);
    check(check_heartbeat, &json!({"lease": "l1"}), &expect![[""]]);
    check(check_heartbeat, &json!({}), &expect![[""]]);
}

#[test]
fn an_output_is_anything_but_nothing() {
    let output = json!({"lease": LEASE, "output": {"usage": {"total_tokens": 3}}});
    check(check_complete, &output, &expect![[""]]);
    check(check_complete, &json!({"lease": LEASE, "output": false}), &expect![[""]]);
    check(check_complete, &json!({"lease": LEASE, "output": null}), &expect![[""]]);
    check(check_complete, &json!({"output": 1, "result": 1}), &expect![[""]]);
}

#[test]
fn a_failure_says_why_and_may_say_of_what_kind() {
    check(check_fail, &json!({"lease": LEASE, "message": "no tests"}), &expect![[""]]);
    for code in FailRequest::CODES {
        let args = json!({"lease": LEASE, "message": "m", "code": code});
        let read = check_fail(&Json::from_value(&args).unwrap()).unwrap();
        assert_eq!(read.code, Some(code));
    }
    let wrong = json!({"lease": LEASE, "message": "", "code": "cancelled"});
    check(check_fail, &wrong, &expect![[""]]);
}

#[test]
fn schemas_and_reader_agree() {
    super::call_tests::check_fields::<ClaimRequest, _>(&CLAIM);
    super::call_tests::check_fields::<HeartbeatRequest, _>(&HEARTBEAT);
    super::call_tests::check_fields::<CompleteRequest, _>(&COMPLETE);
    super::call_tests::check_fields::<FailRequest, _>(&FAIL);
}
