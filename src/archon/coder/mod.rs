//! The `coder` agent: a scaffold of an ONEX node, checked before it is written.
//!
//! It writes what follows from the contract alone: typed models, error handling, limits, logging
//! and the way the work goes. The work itself is injected, and the file says so.

mod assess;
mod check;
mod context;
mod fields;
mod name;
mod template;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

pub(super) use self::assess::{AssessInput, assess};
use self::{check::Validation, context::Reference, template::Parts};
use super::error::ArchonError;
use crate::{
    confine::Workspaces,
    model::{CoderInput, ValidationLevel, text},
};

/// Up to how many bytes of code are answered along with the facts about it.
const ANSWERED_BYTES_MAX: usize = 16 * 1_024;

/// Writes the node that `input` asks for, and answers what was written. Blocks.
pub(super) fn write(
    workspaces: &Workspaces,
    input: &CoderInput,
    stop: &CancellationToken,
) -> Result<Value, ArchonError> {
    let draft = Draft::make(workspaces, input, stop)?;
    if !draft.validation.passed {
        return Err(refuse(&draft.validation, to_json(&draft.validation)?));
    }
    if stop.is_cancelled() {
        return Err(ArchonError::Cancelled);
    }
    workspaces.write_atomically(&input.output_path, draft.code.as_bytes())?;
    let mut answer = draft.answer(input)?;
    if draft.code.len() <= ANSWERED_BYTES_MAX {
        answer["generated_code"] = draft.code.into();
    }
    Ok(answer)
}

/// Answers the code of the node that `input` asks for, whatever the checks say of it, and writes
/// nothing. Blocks.
pub(super) fn generate(
    workspaces: &Workspaces,
    input: &CoderInput,
    stop: &CancellationToken,
) -> Result<Value, ArchonError> {
    let draft = Draft::make(workspaces, input, stop)?;
    let mut answer = draft.answer(input)?;
    answer["generated_code"] = draft.code.into();
    Ok(answer)
}

/// A node that is not written yet.
struct Draft {
    parts: Parts,
    code: String,
    validation: Validation,
    references: Vec<Reference>,
}

impl Draft {
    fn make(
        workspaces: &Workspaces,
        input: &CoderInput,
        stop: &CancellationToken,
    ) -> Result<Self, ArchonError> {
        workspaces.allows(&input.output_path)?;
        let gathered = input.pre_gathered_context.as_ref();
        let references = context::read(workspaces, &input.context_files, gathered, stop)?;
        let parts = plan(input, &references);
        let code = parts.render();
        let validation = check::run(&code, input.node_type, input.validation_level, stop)?;
        Ok(Self { parts, code, validation, references })
    }

    fn answer(&self, input: &CoderInput) -> Result<Value, ArchonError> {
        let (validation, references) = (to_json(&self.validation)?, to_json(&self.references)?);
        Ok(answer(input, &self.parts, &self.code, &validation, &references))
    }
}

fn plan(input: &CoderInput, references: &[Reference]) -> Parts {
    let description = &input.contract_description;
    Parts {
        node_type: input.node_type,
        name: name::of(&input.output_path, input.node_type, description),
        description: description.clone(),
        fields: fields::of(description),
        references: references.iter().map(Reference::to_line).collect(),
    }
}

fn answer(
    input: &CoderInput,
    parts: &Parts,
    code: &str,
    validation: &Value,
    references: &Value,
) -> Value {
    let names = |it: &[fields::Field]| it.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    json!({
        "success": true,
        "generator": "scaffold",
        "node_type": name::type_word(input.node_type),
        "class_name": parts.class_name(),
        "method": check::method_name(input.node_type),
        "output_path": input.output_path,
        "bytes": code.len(),
        "lines": code.lines().count(),
        "sha256": text::hex(&Sha256::digest(code.as_bytes())),
        "input_fields": names(&parts.fields.inputs),
        "output_fields": names(&parts.fields.outputs),
        "validation": validation,
        "context_used": references,
        "note": "a scaffold: inject the part that does the work; its protocol is in the file",
    })
}

fn refuse(validation: &Validation, json: Value) -> ArchonError {
    let failed = validation.checks.iter().filter(|it| it.required && !it.passed);
    ArchonError::CheckFailed {
        level: match validation.level {
            ValidationLevel::Strict => "strict",
            ValidationLevel::Moderate => "moderate",
            ValidationLevel::Lenient => "lenient",
        },
        failed: failed.map(|it| it.name.to_owned()).collect(),
        validation: json,
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<Value, ArchonError> {
    serde_json::to_value(value).map_err(|error| ArchonError::Internal(error.to_string()))
}
