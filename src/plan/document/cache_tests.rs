//! What a document may say about results of the same work.

use expect_test::expect;
use serde_json::json;

use super::{
    super::Limits,
    check_retry, check_specs,
    testing::{check_value, coder, with_rules},
    tests::{check_config, check_task, merge},
};
use crate::model::{CacheMode, json::Json};

#[test]
fn a_mode_is_one_of_three_words() {
    check_task(
        &json!({"cache": "reused"}),
        &expect![[r#"
            invalid_enum at /tasks/0/cache: task "a": "cache" must be "off", "reuse" or "refresh", not "reused"; did you mean "reuse"?
              hint: choose "off", "reuse" or "refresh""#]],
    );
    check_task(
        &json!({"cache": true}),
        &expect![[r#"
        invalid_type at /tasks/0/cache: task "a": "cache" must be a string, not a boolean
          hint: pass a string"#]],
    );
    check_config(
        &json!({"cache": "Reuse"}),
        &expect![[r#"
        invalid_enum at /config/cache: "cache" must be "off", "reuse" or "refresh", not "Reuse"; did you mean "reuse"?
          hint: choose "off", "reuse" or "refresh""#]],
    );
    check_config(
        &json!({"cache": ["off"]}),
        &expect![[r#"
        invalid_type at /config/cache: "cache" must be a string, not a list
          hint: pass a string"#]],
    );
}

#[test]
fn every_mode_is_read_and_written_again() {
    let modes = [CacheMode::Off, CacheMode::Reuse, CacheMode::Refresh];
    for (word, mode) in CacheMode::WORDS.into_iter().zip(modes) {
        let mut task = coder("a");
        merge(&mut task, &json!({ "cache": word }));
        let document = json!({ "tasks": [task, coder("b")], "config": { "cache": word } });
        let checked = check_value(&document).unwrap();
        assert_eq!((checked.tasks[0].cache, checked.tasks[1].cache), (Some(mode), None));
        assert_eq!(checked.config.cache, Some(mode));
        let again = with_rules(Limits::SERVER, |it| check_specs(checked.tasks, checked.config, it))
            .unwrap();
        assert_eq!((again.tasks[0].cache, again.config.cache), (Some(mode), Some(mode)));
    }
}

#[test]
fn a_retry_may_say_it_anew() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let retry = |word: &str| {
        let args = json!({ "dispatch_id": id, "overrides": { "a": { "cache": word } } });
        check_retry(&Json::from_value(&args).unwrap())
    };
    let overrides = retry("refresh").unwrap().request.overrides.unwrap();
    assert_eq!(overrides.values().next().unwrap().cache, Some(CacheMode::Refresh));
    let refusal = retry("no").unwrap_err();
    assert_eq!(refusal.to_body().errors[0].path, "/overrides/a/cache");
}
