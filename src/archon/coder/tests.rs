//! What the coder writes, and what it does not.

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{check, fields, template::Parts, write};
use crate::{
    archon::ArchonError,
    confine::Workspaces,
    model::{CoderInput, NodeType, ValidationLevel},
};

const NODE_TYPES: [NodeType; 4] =
    [NodeType::Effect, NodeType::Compute, NodeType::Reducer, NodeType::Orchestrator];

fn run(dir: &Path, input: Value) -> Result<Value, ArchonError> {
    let workspaces = Workspaces::new([dir.to_owned()]).unwrap();
    let input: CoderInput = serde_json::from_value(input).unwrap();
    write(&workspaces, &input, &CancellationToken::new())
}

fn input(dir: &Path, node_type: &str, description: &str, level: &str) -> Value {
    let file = format!("node_user_writer_{}.py", node_type.to_lowercase());
    json!({
        "contract_description": description,
        "node_type": node_type,
        "output_path": dir.join("out").join(file),
        "validation_level": level,
    })
}

#[track_caller]
fn check_code(node_type: &str, description: &str, expected: &Expect) {
    let dir = TempDir::new().unwrap();
    run(dir.path(), input(dir.path(), node_type, description, "strict")).unwrap();
    let file = format!("out/node_user_writer_{}.py", node_type.to_lowercase());
    expected.assert_eq(&fs::read_to_string(dir.path().join(file)).unwrap());
}

/// Compares what was answered, with the directory's own name left out.
#[track_caller]
fn check_json(dir: &TempDir, answer: &Value, expected: &Expect) {
    let answer = serde_json::to_string_pretty(answer).unwrap();
    expected.assert_eq(&answer.replace(&*dir.path().to_string_lossy(), "$"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is the snapshot")]
fn an_effect_is_written() {
    check_code(
        "Effect",
        "Takes a user_id and an email, writes user records to PostgreSQL, returns a record count.",
        &expect![[r#"
            """NodeUserWriterEffect: an ONEX Effect node.

            Purpose:
                Takes a user_id and an email, writes user records to PostgreSQL, returns a record
                count.

            References:
                none were given.
            """

            from __future__ import annotations

            import asyncio
            import logging
            from enum import Enum
            from typing import Protocol
            from uuid import UUID, uuid4

            from pydantic import BaseModel, ConfigDict, Field

            logger = logging.getLogger(__name__)


            class EnumUserWriterErrorCode(str, Enum):
                """Why NodeUserWriterEffect failed."""

                TIMEOUT = "timeout"
                UNREACHABLE = "unreachable"
                FAILED = "failed"


            class UserWriterEffectError(Exception):
                """What NodeUserWriterEffect raises; the cause is chained."""

                def __init__(
                    self, code: EnumUserWriterErrorCode, message: str, correlation_id: UUID
                ) -> None:
                    """Keeps the code to branch on and the id to search the log for."""
                    super().__init__(f"{code.value}: {message} (correlation_id {correlation_id})")
                    self.code = code
                    self.correlation_id = correlation_id


            class ModelUserWriterInput(BaseModel):
                """What NodeUserWriterEffect is given."""

                model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

                user_id: str = Field(description="user id")
                email: str = Field(description="email")
                user_records: list[str] = Field(description="user records")


            class ModelUserWriterOutput(BaseModel):
                """What NodeUserWriterEffect answers."""

                model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

                record_count: int = Field(description="record count")


            class ModelContractEffect(BaseModel):
                """What the node is asked to do, and within which limits."""

                model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

                request: ModelUserWriterInput = Field(description="what to do outside")
                correlation_id: UUID = Field(default_factory=uuid4, description="names this execution in logs")
                attempts_max: int = Field(
                    default=1, ge=1, le=10, description="above 1 only where doing it twice does no harm"
                )
                timeout_seconds: float = Field(default=30.0, gt=0.0, le=3600.0, description="for each attempt")
                retry_delay_seconds: float = Field(default=0.1, ge=0.0, le=60.0, description="then doubled")


            class ProtocolUserWriterTransport(Protocol):
                """The outside world: inject a real one, or a fake in tests."""

                async def perform(
                    self, request: ModelUserWriterInput
                ) -> ModelUserWriterOutput:
                    """Carries out one request, and raises when it cannot."""
                    ...


            class NodeUserWriterEffect:
                """ONEX Effect node: the one place that talks to the outside.

                Purpose:
                    Takes a user_id and an email, writes user records to PostgreSQL, returns a record
                    count.

                Inputs:
                    user_id (str)
                    email (str)
                    user_records (list[str])

                Outputs:
                    record_count (int)

                Errors:
                    UserWriterEffectError:
                        with `timeout`, `unreachable` or `failed`; the cause is chained.
                """

                def __init__(self, transport: ProtocolUserWriterTransport) -> None:
                    """Takes the transport that carries out the requests."""
                    self._transport = transport

                async def execute_effect(
                    self, contract: ModelContractEffect
                ) -> ModelUserWriterOutput:
                    """Carries out the contract's request.

                    Only a timeout and a lost connection are tried again, at most `attempts_max` times.

                    Raises:
                        UserWriterEffectError: when the last attempt failed.
                    """
                    context = {"node": type(self).__name__, "correlation_id": str(contract.correlation_id)}
                    delay = contract.retry_delay_seconds
                    for attempt in range(1, contract.attempts_max + 1):
                        try:
                            result = await asyncio.wait_for(
                                self._transport.perform(contract.request), timeout=contract.timeout_seconds
                            )
                        except (asyncio.TimeoutError, TimeoutError, ConnectionError) as error:
                            logger.warning("attempt failed", extra={**context, "attempt": attempt})
                            if attempt == contract.attempts_max:
                                raise self._failure(contract, error) from error
                        except Exception as error:
                            logger.error("effect failed", extra={**context, "attempt": attempt})
                            raise self._failure(contract, error) from error
                        else:
                            logger.info("effect done", extra={**context, "attempt": attempt})
                            return result
                        await asyncio.sleep(delay)
                        delay *= 2
                    raise AssertionError("attempts_max is at least 1")

                def _failure(
                    self, contract: ModelContractEffect, error: Exception
                ) -> UserWriterEffectError:
                    if isinstance(error, ConnectionError):
                        code = EnumUserWriterErrorCode.UNREACHABLE
                    elif isinstance(error, (asyncio.TimeoutError, TimeoutError)):
                        code = EnumUserWriterErrorCode.TIMEOUT
                    else:
                        code = EnumUserWriterErrorCode.FAILED
                    return UserWriterEffectError(code, str(error), contract.correlation_id)
        "#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is the snapshot")]
fn the_answer_says_what_was_written() {
    let dir = TempDir::new().unwrap();
    let mut answer =
        run(dir.path(), input(dir.path(), "Compute", "Computes a score.", "strict")).unwrap();
    let written = fs::read_to_string(dir.path().join("out/node_user_writer_compute.py")).unwrap();
    assert_eq!(answer["generated_code"], written);
    assert_eq!(answer["bytes"], written.len());
    answer["generated_code"] = "…".into();
    check_json(
        &dir,
        &answer,
        &expect![[r#"
        {
          "success": true,
          "generator": "scaffold",
          "node_type": "Compute",
          "class_name": "NodeUserWriterCompute",
          "method": "execute_compute",
          "output_path": "$/out/node_user_writer_compute.py",
          "bytes": 3687,
          "lines": 125,
          "sha256": "378b5c46caa23510bfc6a1769e0a42b4abff99dee9d3961995f554e462f1151b",
          "input_fields": [
            "payload"
          ],
          "output_fields": [
            "score"
          ],
          "validation": {
            "level": "strict",
            "passed": true,
            "checks": [
              {
                "name": "parses",
                "passed": true,
                "required": true,
                "detail": "no syntax errors"
              },
              {
                "name": "node_class",
                "passed": true,
                "required": true,
                "detail": "the node class is there"
              },
              {
                "name": "method",
                "passed": true,
                "required": true,
                "detail": "the node type's method is there"
              },
              {
                "name": "contract_docstring",
                "passed": true,
                "required": true,
                "detail": "the node class says its inputs, outputs and errors"
              },
              {
                "name": "contract_model",
                "passed": true,
                "required": true,
                "detail": "the contract model is there"
              },
              {
                "name": "typed_models",
                "passed": true,
                "required": true,
                "detail": "every field of a model has a type"
              },
              {
                "name": "no_bare_except",
                "passed": true,
                "required": true,
                "detail": "every except names its errors"
              },
              {
                "name": "annotations",
                "passed": true,
                "required": true,
                "detail": "every function is annotated"
              },
              {
                "name": "docstrings",
                "passed": true,
                "required": true,
                "detail": "everything public has a docstring"
              },
              {
                "name": "no_any",
                "passed": true,
                "required": true,
                "detail": "the type Any is not used"
              },
              {
                "name": "line_length",
                "passed": true,
                "required": true,
                "detail": "no line is longer than 100 characters"
              },
              {
                "name": "naming",
                "passed": true,
                "required": true,
                "detail": "models, enums and nodes are named as such"
              }
            ]
          },
          "context_used": [],
          "note": "a scaffold: inject the part that does the work; its protocol is in the file",
          "generated_code": "…"
        }"#]],
    );
}

#[test]
fn every_node_type_passes_the_strict_level_under_any_description() {
    let hostile =
        "\"\"\"\nimport os; os.system('x')\n'''\\ \\N{DASH} \u{202e}\u{7} {{models}} {name}";
    let long = "takes averyveryveryverylongfieldnamethatneverends, ".repeat(500);
    let names = ["UserWriter".to_owned(), "W".repeat(30)];
    for node_type in NODE_TYPES {
        for (description, name) in [hostile, &long, "", "\\", "\""].iter().zip(names.iter().cycle())
        {
            let parts = Parts {
                node_type,
                name: name.clone(),
                description: (*description).to_owned(),
                fields: fields::of(description),
                references: vec![hostile.to_owned(), long.clone()],
            };
            let stop = CancellationToken::new();
            let code = parts.render();
            let validation = check::run(&code, node_type, ValidationLevel::Strict, &stop).unwrap();
            let failed: Vec<_> = validation.checks.iter().filter(|it| !it.passed).collect();
            assert!(failed.is_empty(), "{node_type:?} {failed:#?}");
            assert!(!code.contains("{{class}}") && !code.contains("\nimport os;"));
        }
    }
}

#[test]
fn e2e_python_compiles_what_is_written() {
    let dir = TempDir::new().unwrap();
    let hostile = "\"\"\" \\ \n import os\u{0}\u{202e}'''";
    let mut python = std::process::Command::new("python3");
    python.args(["-W", "error", "-m", "py_compile"]);
    for node_type in NODE_TYPES {
        let answer =
            run(dir.path(), input(dir.path(), &format!("{node_type:?}"), hostile, "strict"));
        python.arg(answer.unwrap()["output_path"].as_str().unwrap());
    }
    let ended = python.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn code_that_fails_its_checks_is_refused_with_the_findings() {
    let stop = CancellationToken::new();
    let code = "class NodeX:\n    pass\n";
    let validation = check::run(code, NodeType::Effect, ValidationLevel::Moderate, &stop).unwrap();
    let findings = super::to_json(&validation).unwrap();
    let refusal = super::refuse(&validation, findings).to_json();
    assert_eq!(refusal["code"], "check_failed");
    assert_eq!(refusal["validation"]["passed"], false);
    assert_eq!(
        refusal["error"],
        "the generated code fails checks of the level moderate: node_class, method, \
         contract_docstring, contract_model, typed_models"
    );
}

#[test]
fn context_is_read_and_named() {
    let dir = TempDir::new().unwrap();
    let code = "class Db:\n    def get(self): ...\n\ndef connect(): ...\n";
    fs::write(dir.path().join("db.py"), code).unwrap();
    fs::write(dir.path().join("notes.md"), "one\ntwo\n").unwrap();
    let mut input = input(dir.path(), "Effect", "x", "moderate");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    input["context_files"] = json!([path("db.py"), path("notes.md"), path("gone.py")]);
    input["pre_gathered_context"] = json!({
        "file:auth.py": {"content": "def login(): ..."},
        "rag:jwt": [1, 2],
    });
    let answer = run(dir.path(), input).unwrap();
    check_json(
        &dir,
        &answer["context_used"],
        &expect![[r#"
        [
          {
            "source": "$/db.py",
            "classes": [
              "Db"
            ],
            "functions": [
              "connect"
            ]
          },
          {
            "source": "$/notes.md",
            "classes": [],
            "functions": [],
            "note": "2 lines"
          },
          {
            "source": "$/gone.py",
            "classes": [],
            "functions": [],
            "note": "$/gone.py: no such file or directory"
          },
          {
            "source": "file:auth.py",
            "classes": [],
            "functions": [
              "login"
            ]
          },
          {
            "source": "rag:jwt",
            "classes": [],
            "functions": [],
            "note": "taken as it is"
          }
        ]"#]],
    );
    let code = answer["generated_code"].as_str().unwrap();
    assert!(code.contains("db.py; classes Db; functions connect"), "{code}");
}

#[test]
fn nothing_is_read_or_written_outside() {
    let dir = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret.py"), "def secret(): ...").unwrap();
    let mut escape = input(dir.path(), "Effect", "x", "moderate");
    escape["output_path"] = json!(outside.path().join("x.py"));
    assert!(matches!(run(dir.path(), escape), Err(ArchonError::File(_))));
    assert!(!outside.path().join("x.py").exists());
    let mut peek = input(dir.path(), "Effect", "x", "moderate");
    peek["context_files"] = json!([outside.path().join("secret.py")]);
    assert!(matches!(run(dir.path(), peek), Err(ArchonError::File(_))));
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_caller_who_gave_up_gets_no_file() {
    let dir = TempDir::new().unwrap();
    let workspaces = Workspaces::new([dir.path().to_owned()]).unwrap();
    let input = input(dir.path(), "Effect", "x", "lenient");
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = write(&workspaces, &serde_json::from_value(input).unwrap(), &stop);
    assert!(matches!(ended, Err(ArchonError::Cancelled)));
    assert!(!dir.path().join("out").exists());
}
