//! What an investigation finds.

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::investigate;
use crate::{archon::ArchonError, confine::Workspaces};

const APP: &str = r"import os
from pkg.db import find
from .helpers import shout


class Users:
    def load(self, user_id, seen=[]):
        user = find(user_id)
        print(user.name)
        return user

    def all(self, ids):
        for group in ids:
            for user_id in group:
                self.db.query(user_id)
        try:
            shout()
        except Exception:
            pass
";

const TRACE: &str = r#"Traceback (most recent call last):
  File "/usr/lib/python3/runpy.py", line 1, in run
  File "app.py", line 9, in load
    print(user.name)
AttributeError: 'NoneType' object has no attribute 'name'
"#;

pub(super) fn ground() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("pkg")).unwrap();
    fs::write(dir.path().join("app.py"), APP).unwrap();
    fs::write(dir.path().join("helpers.py"), "def shout(: pass\n").unwrap();
    fs::write(dir.path().join("pkg/db.py"), "def find(it): return None\n").unwrap();
    fs::write(dir.path().join("web.py"), "import app\n\napp.Users().load(7)\n").unwrap();
    dir
}

pub(super) async fn run(dir: &Path, mut input: Value) -> Result<Value, ArchonError> {
    let text = input.to_string().replace("$/", &format!("{}/", dir.to_string_lossy()));
    input = serde_json::from_str(&text).unwrap();
    let workspaces = Workspaces::new([dir.to_owned()]).unwrap();
    let input = serde_json::from_value(input).unwrap();
    investigate(workspaces, input, CancellationToken::new()).await
}

/// Compares parts of an answer, with the directory's own name left out.
#[track_caller]
fn check(dir: &TempDir, parts: &[&Value], expected: &Expect) {
    let show = |it: &&Value| serde_json::to_string_pretty(it).unwrap();
    let shown = parts.iter().map(show).collect::<Vec<_>>().join("\n");
    expected.assert_eq(&shown.replace(&*dir.path().to_string_lossy(), "$"));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of it is the snapshot")]
async fn a_trace_leads_to_its_cause() {
    let dir = ground();
    let input = json!({
        "problem_description": "Loading a user fails",
        "affected_files": ["$/app.py"],
        "error_traces": [TRACE],
        "analysis_depth": "quick",
        "hypothesis": "find() returns None for an unknown user; maybe the cache is stale",
    });
    let answer = run(dir.path(), input).await.unwrap();
    check(
        &dir,
        &[&answer],
        &expect![[r#"
            {
              "success": true,
              "analyzer": "static",
              "analysis_depth": "quick",
              "baseline": {
                "files": [
                  {
                    "path": "$/app.py",
                    "status": "read",
                    "bytes": 388,
                    "lines": 19,
                    "functions": 2,
                    "syntax_errors": []
                  }
                ],
                "errors": [
                  {
                    "kind": "AttributeError",
                    "message": "'NoneType' object has no attribute 'name'",
                    "relation": null,
                    "n_frames": 2
                  }
                ]
              },
              "focus": {
                "frames": [
                  {
                    "path": "$/app.py",
                    "line": 9,
                    "function": "Users.load",
                    "code": "print(user.name)",
                    "in_workspace": true,
                    "around": [
                      {
                        "line": 7,
                        "code": "    def load(self, user_id, seen=[]):"
                      },
                      {
                        "line": 8,
                        "code": "        user = find(user_id)"
                      },
                      {
                        "line": 9,
                        "code": "        print(user.name)"
                      },
                      {
                        "line": 10,
                        "code": "        return user"
                      },
                      {
                        "line": 11,
                        "code": ""
                      }
                    ]
                  },
                  {
                    "path": "/usr/lib/python3/runpy.py",
                    "line": 1,
                    "function": "run",
                    "in_workspace": false
                  }
                ],
                "suspicious_functions": [
                  {
                    "function": "Users.load",
                    "where": "$/app.py:9",
                    "because": "a frame of the trace stands here (error 1)"
                  }
                ]
              },
              "root_cause": {
                "candidates": [
                  {
                    "what": "a value is None where an object is expected: something returned nothing",
                    "where": "$/app.py:9 in Users.load",
                    "evidence": [
                      "AttributeError: 'NoneType' object has no attribute 'name'",
                      "line 9: print(user.name)",
                      "`user` is set in line 8: user = find(user_id)"
                    ],
                    "confidence": 0.9
                  },
                  {
                    "what": "an error is caught and nothing is done about it",
                    "where": "$/app.py:18",
                    "evidence": [],
                    "confidence": 0.3
                  },
                  {
                    "what": "a default value is shared by all calls, so one call changes the next",
                    "where": "$/app.py:7",
                    "evidence": [],
                    "confidence": 0.25
                  }
                ],
                "hypothesis_assessment": {
                  "hypothesis": "find() returns None for an unknown user; maybe the cache is stale",
                  "verdict": "weakly supported",
                  "found_in_evidence": [
                    "find",
                    "none",
                    "user"
                  ],
                  "not_found": [
                    "cache",
                    "returns",
                    "stale",
                    "unknown"
                  ],
                  "method": "its words were looked for in errors, frames, functions and candidates"
                }
              },
              "optimisation": {
                "relevant": false,
                "note": "the problem does not read as one of speed"
              },
              "synthesis": {
                "summary": "likely cause: a value is None where an object is expected: something returned nothing ($/app.py:9 in Users.load); confidence 0.9; candidates named: 3",
                "recommended_fixes": [
                  "handle the case that nothing is returned, where the value is made",
                  "log it or raise it at $/app.py:18",
                  "use None as the default and make the value inside at $/app.py:7"
                ],
                "next_steps": [
                  "write a failing test that reaches $/app.py:9 in Users.load",
                  "ask again with analysis_depth standard"
                ]
              },
              "context_used": []
            }"#]],
    );
}

#[tokio::test]
async fn a_deep_look_finds_imports_and_callers() {
    let dir = ground();
    let input = json!({
        "problem_description": "Loading a user fails",
        "affected_files": ["$/app.py"],
        "error_traces": [TRACE],
        "analysis_depth": "deep",
    });
    let answer = run(dir.path(), input).await.unwrap();
    let complexity = &answer["baseline"]["files"][0]["complexity"];
    check(
        &dir,
        &[&answer["focus"]["related"], complexity],
        &expect![[r#"
        {
          "imports": [
            {
              "by": "$/app.py",
              "module": "pkg.db",
              "path": "$/pkg/db.py",
              "syntax_errors": 0
            },
            {
              "by": "$/app.py",
              "module": ".helpers",
              "path": "$/helpers.py",
              "syntax_errors": 1
            }
          ],
          "callers": [
            {
              "of": "load",
              "path": "$/web.py",
              "line": 3,
              "code": "app.Users().load(7)"
            }
          ],
          "files_searched": 4
        }
        {
          "total": 5,
          "highest": [
            {
              "function": "Users.all",
              "lines": [
                12,
                19
              ],
              "complexity": 4
            },
            {
              "function": "Users.load",
              "lines": [
                7,
                10
              ],
              "complexity": 1
            }
          ]
        }"#]],
    );
}

#[tokio::test]
async fn a_question_of_speed_is_answered_with_loops() {
    let dir = ground();
    let input = json!({
        "problem_description": "The user list is slow",
        "affected_files": ["$/app.py"],
    });
    let answer = run(dir.path(), input).await.unwrap();
    check(
        &dir,
        &[&answer["optimisation"]],
        &expect![[r#"
        {
          "relevant": true,
          "because": [
            "slow"
          ],
          "nested_loops": [
            {
              "where": "$/app.py:12",
              "function": "Users.all",
              "depth": 2
            }
          ],
          "calls_in_loops": [
            {
              "where": "$/app.py:15",
              "function": "Users.all",
              "call": "self.db.query",
              "fix": "ask once for all items before the loop, or ask for them at the same time"
            }
          ],
          "complex_functions": [],
          "note": "found by reading, not by measuring: profile before changing anything"
        }"#]],
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of it is the snapshot")]
async fn missing_files_and_no_traces_still_get_an_answer() {
    let dir = ground();
    let input = json!({
        "problem_description": "The login answers 401 since Monday",
        "affected_files": ["$/gone.py", "$/pkg", "$/helpers.py", "$/pkg/notes.md"],
    });
    fs::write(dir.path().join("pkg/notes.md"), "x\n").unwrap();
    let answer = run(dir.path(), input).await.unwrap();
    let parts = [&answer["baseline"], &answer["root_cause"], &answer["synthesis"]];
    check(
        &dir,
        &parts,
        &expect![[r#"
            {
              "files": [
                {
                  "path": "$/gone.py",
                  "status": "unreadable",
                  "note": "$/gone.py: no such file or directory"
                },
                {
                  "path": "$/pkg",
                  "status": "unreadable",
                  "note": "$/pkg: not a regular file"
                },
                {
                  "path": "$/helpers.py",
                  "status": "read",
                  "bytes": 17,
                  "lines": 1,
                  "functions": 1,
                  "syntax_errors": [
                    {
                      "line": 1,
                      "column": 11,
                      "message": ") is missing"
                    }
                  ],
                  "complexity": {
                    "total": 1,
                    "highest": [
                      {
                        "function": "shout",
                        "lines": [
                          1,
                          1
                        ],
                        "complexity": 1
                      }
                    ]
                  }
                },
                {
                  "path": "$/pkg/notes.md",
                  "status": "read",
                  "bytes": 2,
                  "lines": 1,
                  "note": "not Python: only its size and the frames in it are looked at"
                }
              ],
              "errors": [],
              "recent_changes": []
            }
            {
              "candidates": [
                {
                  "what": "the file does not parse, so nothing that imports it runs",
                  "where": "$/helpers.py:1",
                  "evidence": [
                    ") is missing; 1 in all"
                  ],
                  "confidence": 0.9
                },
                {
                  "what": "the caller is not authenticated: no credentials, or expired or wrong ones",
                  "where": "problem_description",
                  "evidence": [
                    "the description says \"401\""
                  ],
                  "confidence": 0.35
                },
                {
                  "what": "an affected file cannot be read: it may be missing, moved or misnamed",
                  "where": "$/gone.py",
                  "evidence": [
                    "$/gone.py: no such file or directory"
                  ],
                  "confidence": 0.3
                },
                {
                  "what": "an affected file cannot be read: it may be missing, moved or misnamed",
                  "where": "$/pkg",
                  "evidence": [
                    "$/pkg: not a regular file"
                  ],
                  "confidence": 0.3
                }
              ],
              "hypothesis_assessment": null
            }
            {
              "summary": "likely cause: the file does not parse, so nothing that imports it runs ($/helpers.py:1); confidence 0.9; candidates named: 4",
              "recommended_fixes": [
                "mend the syntax at $/helpers.py:1",
                "check which credentials are sent, until when they hold, and how they are verified",
                "check that the file exists under this path"
              ],
              "next_steps": [
                "reproduce the problem and pass its stack trace in error_traces",
                "correct the path $/gone.py, which cannot be read",
                "correct the path $/pkg, which cannot be read",
                "ask again with analysis_depth deep"
              ]
            }"#]],
    );
    let answer = run(dir.path(), json!({ "problem_description": "x" })).await.unwrap();
    check(
        &dir,
        &[&answer["root_cause"], &answer["synthesis"]],
        &expect![[r#"
            {
              "candidates": [
                {
                  "what": "unknown: there is neither an error nor a finding to start from",
                  "where": "problem_description",
                  "evidence": [],
                  "confidence": 0.05
                }
              ],
              "hypothesis_assessment": null
            }
            {
              "summary": "possible cause: unknown: there is neither an error nor a finding to start from (problem_description); confidence 0.05; candidates named: 1",
              "recommended_fixes": [
                "reproduce the problem and pass its stack trace in error_traces"
              ],
              "next_steps": [
                "reproduce the problem and pass its stack trace in error_traces",
                "name the files under suspicion in affected_files",
                "ask again with analysis_depth deep"
              ]
            }"#]],
    );
}
