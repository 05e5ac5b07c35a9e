//! Everything that is known before anyone draws a conclusion.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    super::error::ArchonError,
    file::{CodeLine, File},
    related::{self, Related},
    trace::{self, Frame, TraceError},
};
use crate::{
    confine::Workspaces,
    model::{AnalysisDepth, DebugInput},
};

/// How many affected files are looked at.
pub(super) const FILES_MAX: usize = 32;
/// How many further files are read because a frame names them.
const FRAME_FILES_MAX: usize = 16;
/// How many traces are read.
const TRACES_MAX: usize = 16;
/// How many errors are kept of all traces.
const ERRORS_MAX: usize = 32;
/// How many frames are shown; those with code in a workspace come first.
const FRAMES_MAX: usize = 20;
/// How many frames are shown with the code around them.
const FRAMES_WITH_CODE_MAX: usize = 8;

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Evidence {
    /// The affected files, in the order given.
    pub(super) files: Vec<File>,
    /// Other files that frames name.
    pub(super) frame_files: Vec<File>,
    /// The errors of all traces, in the order printed: what caused comes before what it caused.
    pub(super) errors: Vec<TraceError>,
    /// The frames, innermost first, those of the first error first.
    pub(super) frames: Vec<Located>,
    /// What stands around, for the deep level.
    pub(super) related: Related,
}

/// A frame, and where it is on disk.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) frame: Frame,
    /// Whether the file is in a workspace and can be read.
    pub(super) in_workspace: bool,
    /// The code around, where it is in a workspace.
    pub(super) around: Vec<CodeLine>,
    /// Which error it is of.
    pub(super) error: usize,
}

impl Evidence {
    /// Gathers what the depth asks for. Blocks.
    pub(super) fn gather(
        workspaces: &Workspaces,
        input: &DebugInput,
        stop: &CancellationToken,
    ) -> Result<Self, ArchonError> {
        for path in &input.affected_files {
            workspaces.allows(path)?;
        }
        let mut paths: Vec<&String> = Vec::new();
        for path in input.affected_files.iter().take(FILES_MAX) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        let files = paths.into_iter().map(|it| File::read(workspaces, it, stop));
        let traces = input.error_traces.iter().take(TRACES_MAX);
        let errors = traces.flat_map(|it| trace::parse(it));
        let mut evidence = Self {
            files: files.collect::<Result<_, _>>()?,
            frame_files: Vec::new(),
            errors: errors.take(ERRORS_MAX).collect(),
            frames: Vec::new(),
            related: Related::default(),
        };
        evidence.locate_frames(workspaces, input.analysis_depth, stop)?;
        if input.analysis_depth == AnalysisDepth::Deep {
            evidence.related = related::find(workspaces, &evidence, stop)?;
        }
        Ok(evidence)
    }

    /// The file of this path, if it was read.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        let mut files = self.files.iter().chain(&self.frame_files);
        files.find(|it| it.path == path && it.text.is_ok())
    }

    /// The innermost frame of an error that is in a workspace.
    pub(super) fn own_frame(&self, error: usize) -> Option<&Located> {
        self.frames.iter().find(|it| it.error == error && it.in_workspace)
    }

    fn locate_frames(
        &mut self,
        workspaces: &Workspaces,
        depth: AnalysisDepth,
        stop: &CancellationToken,
    ) -> Result<(), ArchonError> {
        let errors = self.errors.iter().enumerate();
        let frames = errors.flat_map(|(at, it)| it.frames.iter().map(move |it| (at, it.clone())));
        let mut frames: Vec<_> = frames.collect();
        for (error, frame) in &mut frames {
            let mut in_workspace = false;
            if let Some(path) = self.resolve(workspaces, &frame.path) {
                in_workspace = self.read_frame_file(workspaces, &path, stop)?;
                frame.path = path;
            }
            self.name_function(frame);
            let (frame, error) = (frame.clone(), *error);
            self.frames.push(Located { frame, in_workspace, around: Vec::new(), error });
        }
        self.frames.sort_by_key(|it| !it.in_workspace);
        self.frames.truncate(FRAMES_MAX);
        self.show_code(radius(depth));
        Ok(())
    }

    /// Reads the file of a frame unless that was done; false when it cannot be read.
    fn read_frame_file(
        &mut self,
        workspaces: &Workspaces,
        path: &str,
        stop: &CancellationToken,
    ) -> Result<bool, ArchonError> {
        if self.file(path).is_none() && self.frame_files.len() < FRAME_FILES_MAX {
            self.frame_files.push(File::read(workspaces, path, stop)?);
        }
        Ok(self.file(path).is_some())
    }

    /// The path that a frame means: an affected file, or one beneath a workspace.
    fn resolve(&self, workspaces: &Workspaces, path: &str) -> Option<String> {
        if path.starts_with('/') {
            return workspaces.is_file(path).then(|| path.to_owned());
        }
        let relative = path.strip_prefix("./").unwrap_or(path);
        let ends_with = |it: &&File| std::path::Path::new(&it.path).ends_with(relative);
        if let Some(file) = self.files.iter().find(ends_with) {
            return Some(file.path.clone());
        }
        let candidates = workspaces.roots().map(|it| it.join(relative));
        let found = candidates.filter_map(|it| it.to_str().map(str::to_owned));
        found.into_iter().find(|it| workspaces.is_file(it))
    }

    /// Names the function of a frame from the file, where that agrees with the trace: the file
    /// also knows the class.
    fn name_function(&self, frame: &mut Frame) {
        let outline = self.file(&frame.path).and_then(|it| it.outline.as_ref());
        let Some(function) = outline.and_then(|it| it.function_at(frame.line)) else { return };
        if frame.function.as_ref().is_none_or(|it| *it == function.name) {
            frame.function = Some(function.full_name());
        }
    }

    fn show_code(&mut self, radius: usize) {
        let mut frames = std::mem::take(&mut self.frames);
        let own = frames.iter_mut().filter(|it| it.in_workspace).take(FRAMES_WITH_CODE_MAX);
        for it in own {
            let file = self.file(&it.frame.path);
            it.around = file.map(|file| file.around(it.frame.line, radius)).unwrap_or_default();
        }
        self.frames = frames;
    }
}

impl Located {
    /// The frame as the focus shows it.
    pub(super) fn to_json(&self) -> Value {
        let mut json = json!(self.frame);
        json["in_workspace"] = self.in_workspace.into();
        if !self.around.is_empty() {
            json["around"] = json!(self.around);
        }
        json
    }

    /// `path:line in function`.
    pub(super) fn place(&self) -> String {
        let Frame { path, line, function, .. } = &self.frame;
        let function = function.as_ref().map(|it| format!(" in {it}")).unwrap_or_default();
        format!("{path}:{line}{function}")
    }
}

/// How many lines are shown on each side of a frame.
fn radius(depth: AnalysisDepth) -> usize {
    match depth {
        AnalysisDepth::Quick => 2,
        AnalysisDepth::Standard => 5,
        AnalysisDepth::Deep => 12,
    }
}
