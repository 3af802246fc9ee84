//! A Dockerfile and options, lowered to a plan: the only code that does it.

use super::scope::{self, Scope};
use super::stages::{self, Draft, Others, StageDraft, Stages};
use super::{
    Base, Copy, CopySource, Edge, EdgeKind, FileOrigin, Op, Options, Plan, Stage, StageId, Step, StepId, config, copy,
    proxies, run, text, unix_path,
};
use crate::dockerfile::command::{Command, Fault};
use crate::dockerfile::{Diagnostic, Dockerfile, Instruction, Severity, Span};
use crate::image::config::ImageConfig;
use crate::names::platform::Platform;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The images whose configuration [`lower`] needs, named as expanded: bases of the stages that run.
///
/// A base can have `ONBUILD` triggers that read further stages: [`missing_bases`] says what is needed then.
pub fn bases(dockerfile: &Dockerfile, options: &Options) -> Result<Vec<String>, Vec<Diagnostic>> {
    missing_bases(dockerfile, options, &BTreeMap::new())
}

/// The images that [`lower`] needs beyond those that are known. Asked again with them, there may be more.
pub fn missing_bases(
    dockerfile: &Dockerfile,
    options: &Options,
    known: &BTreeMap<String, ImageConfig>,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    Ok(stages::read(dockerfile, options, Others::of(options), known)?.missing(known))
}

/// Makes the plan. `bases` holds a configuration for every name that [`bases`] and [`missing_bases`] gave.
///
/// Stages that do not run have their steps too, as far as they can be understood without their base.
pub fn lower(
    dockerfile: Arc<Dockerfile>,
    options: &Options,
    bases: &BTreeMap<String, ImageConfig>,
) -> Result<Plan, Vec<Diagnostic>> {
    plan(dockerfile, options, bases, true)
}

/// The plan as far as it can be told without the configuration of any base: for pictures of it, not to be run.
/// Instructions that are wrong, or that only a base could explain, are steps that do nothing.
pub fn sketch(dockerfile: Arc<Dockerfile>, options: &Options) -> Result<Plan, Vec<Diagnostic>> {
    plan(dockerfile, options, &BTreeMap::new(), false)
}

fn plan(
    dockerfile: Arc<Dockerfile>,
    options: &Options,
    bases: &BTreeMap<String, ImageConfig>,
    strict: bool,
) -> Result<Plan, Vec<Diagnostic>> {
    let stages = stages::read(&dockerfile, options, Others::of(options), bases)?;
    let mut lowering = Lowering::new(&stages, options, bases, strict);
    let mut lowered = Vec::with_capacity(stages.stages.len());
    let mut errors = Vec::new();
    let mut failed = BTreeSet::new();
    for draft in &stages.stages {
        // What is built on a stage that is wrong cannot be looked at.
        let result = match draft.parent().is_some_and(|parent| failed.contains(&parent)) {
            true => Err(None),
            false => lowering.stage(draft).map_err(Some),
        };
        match result {
            Ok(stage) => lowered.push(stage),
            Err(error) => {
                failed.insert(draft.id);
                errors.extend(error);
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if let Some(last) = lowered.get_mut(stages.target.0 as usize).and_then(|stage| stage.steps.last_mut()) {
        finish(last, &stages.globals.platform, options);
    }
    let order = lowered.iter().filter(|stage| stage.needed).map(|stage| stage.id).collect();
    let diagnostics = warnings(&stages, options);
    let (target, platform) = (stages.target, stages.globals.platform.to_string());
    Ok(Plan { dockerfile, stages: lowered, target, order, platform, diagnostics })
}

/// An instruction that the official front end would refuse.
pub(super) struct Refusal {
    pub(super) stage: StageId,
    /// Its place in the stage's body, triggers counted.
    pub(super) at: usize,
    pub(super) diagnostic: Diagnostic,
}

/// What the official front end would refuse of the stages that are needed, in its own order. A base that is not known
/// is an empty image. The last may be what takes more than a plan may.
pub(super) fn refusals(stages: &Stages, options: &Options, bases: &BTreeMap<String, ImageConfig>) -> Vec<Refusal> {
    let mut lowering = Lowering::new(stages, options, bases, false);
    for draft in &stages.stages {
        if let Err(diagnostic) = lowering.stage(draft) {
            let at = lowering.at;
            lowering.refusals.push(Refusal { stage: draft.id, at, diagnostic });
            break;
        }
    }
    lowering.refusals
}

struct Lowering<'a> {
    stages: &'a Stages<'a>,
    options: &'a Options,
    bases: &'a BTreeMap<String, ImageConfig>,
    /// Whether the stages that run must be right in everything.
    strict: bool,
    /// The instruction that is looked at, by its place in the stage's body.
    at: usize,
    /// What is wrong, where it need not be right.
    refusals: Vec<Refusal>,
    proxies: Arc<[String]>,
    /// The stages that others are built on, and how those end.
    built_on: BTreeSet<StageId>,
    ends: BTreeMap<StageId, Scope<'a>>,
}

impl<'a> Lowering<'a> {
    fn new(
        stages: &'a Stages<'a>,
        options: &'a Options,
        bases: &'a BTreeMap<String, ImageConfig>,
        strict: bool,
    ) -> Lowering<'a> {
        Lowering {
            stages,
            options,
            bases,
            strict,
            at: 0,
            refusals: Vec::new(),
            proxies: proxies::environment(options),
            built_on: stages.stages.iter().filter_map(StageDraft::parent).collect(),
            ends: BTreeMap::new(),
        }
    }

    fn stage(&mut self, draft: &StageDraft) -> Result<Stage, Diagnostic> {
        self.at = 0;
        let error = |fault: Fault| self.stages.error(fault, draft.from);
        let mut scope = self.begin(draft).map_err(error)?;
        let mut steps = self.first_steps(draft, &mut scope).map_err(error)?;
        let body = if draft.replaced { &[] } else { draft.body.as_slice() };
        for (at, item) in body.iter().enumerate() {
            self.at = at;
            let id = StepId { stage: draft.id, index: steps.len() as u32 };
            self.check_sources(draft, item).or_else(|fault| self.refuse(fault, draft, item))?;
            match self.step(id, item, &mut scope) {
                Ok(step) => steps.push(step),
                Err(fault) => {
                    self.refuse(fault, draft, item)?;
                    let state = scope.state().map_err(error)?;
                    let text = item.instruction.original.trim().to_owned();
                    let done = Done { state, ..Done::config(String::new()) };
                    steps.push(done.step(id, item, text));
                }
            }
        }
        if self.built_on.contains(&draft.id) {
            self.ends.insert(draft.id, scope);
        }
        let origin = match &draft.base {
            Base::Scratch => FileOrigin::Scratch,
            Base::Stage(stage) => FileOrigin::Stage(*stage),
            Base::Image(name) => FileOrigin::Image(name.clone()),
        };
        let first = Edge { origin, step: StepId { stage: draft.id, index: 0 }, kind: EdgeKind::From };
        let needs = std::iter::once(first).chain(steps.iter().flat_map(edges)).collect();
        Ok(Stage {
            id: draft.id,
            name: draft.name.clone(),
            base: draft.base.clone(),
            platform: draft.platform.clone(),
            steps,
            needs,
            needed: draft.needed,
            no_cache: draft
                .name
                .as_ref()
                .is_some_and(|name| self.options.no_cache_stages.iter().any(|it| it.eq_ignore_ascii_case(name))),
        })
    }

    /// Ends it all, where everything must be right. What does not run need not be.
    fn refuse(&mut self, fault: Fault, draft: &StageDraft, item: &Draft) -> Result<(), Diagnostic> {
        let (must, late) = (draft.needed && self.strict, fault.late);
        if fault.code == "too-large" && !must {
            return Err(self.stages.error(fault, draft.from));
        }
        let diagnostic = self.stages.error(fault, if item.onbuild { draft.from } else { &item.instruction });
        if must {
            return Err(diagnostic);
        }
        if draft.needed && !late {
            self.refusals.push(Refusal { stage: draft.id, at: self.at, diagnostic });
        }
        Ok(())
    }

    fn begin(&self, draft: &StageDraft) -> Result<Scope<'a>, Fault> {
        let Stages { lex, budget, .. } = self.stages;
        let on_image = |image: &ImageConfig| Scope::on_image(*lex, budget, self.proxies.clone(), image);
        match &draft.base {
            Base::Stage(parent) => match self.ends.get(parent) {
                Some(parent) => Ok(Scope::on_stage(parent)),
                None => Err(Fault::new("base", format!("stage {} comes later", parent.0), "")),
            },
            Base::Scratch => Ok(on_image(&empty_image(&self.stages.globals.platform))),
            Base::Image(name) => match self.bases.get(name) {
                Some(image) => Ok(on_image(image)),
                None if draft.needed && self.strict => {
                    Err(Fault::new("base", format!("nothing is known of the image {name}"), name))
                }
                None => Ok(on_image(&empty_image(&self.stages.globals.platform))),
            },
        }
    }

    /// FROM; and, if the stage begins with a directory of the command line, what brings its files.
    fn first_steps(&mut self, draft: &StageDraft, scope: &mut Scope) -> Result<Vec<Step>, Fault> {
        let text = text::expanded(draft.from.original.trim(), self.stages.lex, &self.stages.globals.vars, &[]);
        let state = scope.state()?;
        let from = Step {
            id: StepId { stage: draft.id, index: 0 },
            lines: draft.from.lines,
            keyword: draft.from.keyword.clone(),
            text,
            onbuild: false,
            op: Op::From(draft.base.clone()),
            inputs: Vec::new(),
            state,
            history: String::new(),
            layer: false,
        };
        let Some(directory) = &draft.directory else { return Ok(vec![from]) };
        let copy = Copy {
            add: false,
            sources: vec![CopySource::Path("/".to_owned())],
            dest: "/".to_owned(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            unpack: None,
            checksum: None,
            keep_git_dir: false,
        };
        let files = Step {
            id: StepId { stage: draft.id, index: 1 },
            text: format!("{} (files of the context {directory})", from.text),
            op: Op::Copy(copy),
            inputs: vec![FileOrigin::Context { name: Some(directory.clone()) }],
            history: format!("FROM {directory} # buildkit"),
            layer: true,
            ..from.clone()
        };
        Ok(vec![from, files])
    }

    fn step(&mut self, id: StepId, item: &Draft, scope: &mut Scope) -> Result<Step, Fault> {
        // ENV and ARG are shown as they were read: with the values before the line.
        let before = matches!(item.command, Command::Env(_) | Command::Arg(_))
            .then(|| text::line(item, self.stages.lex, &scope.vars, &[]));
        let mut secrets = Vec::new();
        let mut done = match &item.command {
            Command::Run(command) => {
                let lowered = run::run(command, &item.sources, self.options, scope)?;
                secrets = lowered.secret_names;
                scope.budget.take(lowered.run.env.iter().map(|it| it.len() + 24).sum())?;
                Done { inputs: lowered.inputs, layer: true, ..Done::new(Op::Run(lowered.run), lowered.history) }
            }
            Command::Copy(command) => {
                let from = item.sources.first().and_then(Option::as_ref);
                let lowered = copy::copy(command, from, scope)?;
                Done { inputs: lowered.inputs, layer: true, ..Done::new(Op::Copy(lowered.copy), lowered.history) }
            }
            Command::Add(command) => {
                let lowered = copy::add(command, scope)?;
                Done { inputs: lowered.inputs, layer: true, ..Done::new(Op::Copy(lowered.copy), lowered.history) }
            }
            Command::Workdir(path) => workdir(&scope.expand(path)?, scope),
            command => {
                let line = item.instruction.lines.start;
                Done::config(config::apply(command, line, self.stages, self.options, scope)?)
            }
        };
        done.state = scope.state()?;
        let text = before.unwrap_or_else(|| text::line(item, self.stages.lex, &scope.vars, &secrets));
        scope.budget.take(text.len() + done.history.len())?;
        Ok(done.step(id, item, text))
    }

    /// A stage reads only what stands above it.
    fn check_sources(&self, stage: &StageDraft, item: &Draft) -> Result<(), Fault> {
        let later = item.sources.iter().flatten().find_map(|source| match source {
            FileOrigin::Stage(source) if *source >= stage.id => self.stages.stage(*source),
            _ => None,
        });
        let Some(later) = later else { return Ok(()) };
        let (label, own) = (later.label(), stage.label());
        let message = match later.id == stage.id {
            true => format!("stage {own} reads from itself (circular dependency)"),
            false => format!("stage {own} reads from stage {label}, which comes after it"),
        };
        Err(Fault::new("stage-order", message, label).help("a stage reads only from stages above it: move it down"))
    }
}

/// What an instruction comes to.
struct Done {
    op: Op,
    inputs: Vec<FileOrigin>,
    history: String,
    layer: bool,
    state: Arc<super::State>,
}

impl Done {
    fn new(op: Op, history: String) -> Done {
        Done { op, inputs: Vec::new(), history, layer: false, state: Arc::default() }
    }

    fn config(history: String) -> Done {
        Done::new(Op::Config, history)
    }

    fn step(self, id: StepId, item: &Draft, text: String) -> Step {
        let Instruction { lines, keyword, .. } = item.instruction.as_ref();
        Step {
            id,
            lines: *lines,
            keyword: keyword.clone(),
            text,
            onbuild: item.onbuild,
            op: self.op,
            inputs: self.inputs,
            state: self.state,
            history: self.history,
            layer: self.layer,
        }
    }
}

/// Of the root there is nothing to make.
fn workdir(path: &str, scope: &mut Scope) -> Done {
    scope.touch();
    let path = unix_path::workdir(&scope.image.config.working_dir, path);
    scope.image.config.working_dir.clone_from(&path);
    scope.cwd.clone_from(&path);
    let history = format!("WORKDIR {path}");
    match path.as_str() {
        "/" => Done::config(history),
        _ => {
            let user = scope.image.config.user.clone();
            let op = Op::Workdir { path: unix_path::clean(&path), user };
            Done { layer: true, ..Done::new(op, history) }
        }
    }
}

/// The arrows of a step, but for those from contexts.
fn edges(step: &Step) -> Vec<Edge> {
    let kind = if matches!(step.op, Op::Run(_)) { EdgeKind::Mount } else { EdgeKind::Copy };
    let origins = step.inputs.iter().filter(|origin| !matches!(origin, FileOrigin::Context { .. }));
    origins.map(|origin| Edge { origin: origin.clone(), step: step.id, kind }).collect()
}

/// The configuration of `scratch`.
fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig {
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        os: platform.os.clone(),
        ..ImageConfig::default()
    };
    image.config.working_dir = "/".to_owned();
    image.config.env = vec![format!("PATH={}", scope::DEFAULT_PATH)];
    image
}

/// What the command line says about the image that comes out: its labels, and its platform if one was asked for.
fn finish(last: &mut Step, platform: &Platform, options: &Options) {
    if options.labels.is_empty() && options.platform.is_none() {
        return;
    }
    let image = &mut Arc::make_mut(&mut last.state).image;
    image.config.labels.extend(options.labels.iter().cloned());
    if options.platform.is_some() {
        let same = image.os == platform.os && image.architecture == platform.architecture;
        if !platform.variant.is_empty() || !same {
            image.variant.clone_from(&platform.variant);
        }
        image.os.clone_from(&platform.os);
        image.architecture.clone_from(&platform.architecture);
    }
}

/// The Dockerfile's own findings, and build arguments that nothing declares.
fn warnings(stages: &Stages, options: &Options) -> Vec<Diagnostic> {
    let mut out = stages.dockerfile.diagnostics.clone();
    let bodies = stages.stages.iter().flat_map(|stage| &stage.body);
    let in_stages = bodies.filter_map(|draft| match &draft.command {
        Command::Arg(arguments) => Some(arguments),
        _ => None,
    });
    let declared: BTreeSet<&str> = in_stages.flatten().map(|argument| argument.name.as_str()).collect();
    for name in options.build_args.keys() {
        let known =
            declared.contains(name.as_str()) || stages.globals.origin(name).is_some() || scope::is_predefined(name);
        if !known {
            out.push(Diagnostic {
                severity: Severity::Warning,
                code: "unused-build-arg".to_owned(),
                message: format!("--build-arg {name} is declared by no ARG"),
                span: Span { start: 0, end: 0 },
                help: format!("write ARG {name} where it is needed"),
            });
        }
    }
    out
}
