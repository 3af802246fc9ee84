//! Instructions grouped to stages: their names, what each is built on, and which stages read which.
//!
//! Nothing here needs an image's configuration, except that the `ONBUILD` triggers of a base join its stage.

use super::contexts::Contexts;
use super::globals::Globals;
use super::scope::{Vars, expand};
use super::{Base, FileOrigin, Options, StageId, circle};
use crate::dockerfile::budget::Budget;
use crate::dockerfile::command::{Command, Fault, FromCommand};
use crate::dockerfile::expand::Lex;
use crate::dockerfile::lint;
use crate::dockerfile::nearest::{nearest, nearest_few};
use crate::dockerfile::{self, Diagnostic, Dockerfile, Instruction, Severity, Span};
use crate::image::config::ImageConfig;
use crate::names::image::ImageName;
use crate::names::platform::Platform;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most instructions of a Dockerfile that are planned. Every one of them is a step with a snapshot.
const MAX_INSTRUCTIONS: usize = 50_000;
/// The most errors that are collected.
const MAX_ERRORS: usize = 20;

/// One instruction of a stage, typed.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub instruction: Cow<'a, Instruction>,
    pub command: Command,
    /// A trigger of the base.
    pub onbuild: bool,
    /// For COPY, what `--from` names; for RUN, what `from=` of each mount names.
    pub sources: Vec<Option<FileOrigin>>,
}

#[derive(Debug)]
pub(super) struct StageDraft<'a> {
    pub id: StageId,
    pub from: &'a Instruction,
    /// As written.
    pub name: Option<String>,
    pub base: Base,
    /// The directory given by `--build-context` that the stage begins with, in place of an image.
    pub directory: Option<String>,
    pub platform: String,
    /// A named context has the stage's name: nothing of the stage itself is built.
    pub replaced: bool,
    pub body: Vec<Draft<'a>>,
    pub needed: bool,
    triggered: bool,
}

/// A Dockerfile as stages.
#[derive(Debug)]
pub(super) struct Stages<'a> {
    pub dockerfile: &'a Dockerfile,
    pub stages: Vec<StageDraft<'a>>,
    pub target: StageId,
    pub lex: Lex,
    pub globals: Globals,
    pub budget: Budget,
    contexts: Contexts,
}

/// What becomes of the stages that the target does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    Skipped,
    /// They run like the target's.
    Run,
    /// They are needed as they are written: nothing of their bases' triggers is.
    AsWritten,
}

impl Others {
    pub(super) fn of(options: &Options) -> Others {
        if options.all_stages { Others::Run } else { Others::Skipped }
    }
}

/// Reads the stages of a Dockerfile. `bases` holds the configurations that are known; the stages that run are
/// found with their triggers.
pub(super) fn read<'a>(
    dockerfile: &'a Dockerfile,
    options: &Options,
    others: Others,
    bases: &BTreeMap<String, ImageConfig>,
) -> Result<Stages<'a>, Vec<Diagnostic>> {
    if let Some(rejected) = lint::wrong_options(dockerfile, &options.build_args) {
        return Err(vec![rejected.diagnostic]);
    }
    let errors: Vec<Diagnostic> =
        dockerfile.diagnostics.iter().filter(|it| it.severity == Severity::Error).cloned().collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    if dockerfile.instructions.len() > MAX_INSTRUCTIONS {
        let count = dockerfile.instructions.len();
        let message = format!("the Dockerfile has {count} instructions, and at most {MAX_INSTRUCTIONS} can be planned");
        return Err(vec![general("too-large", message, "split it into several")]);
    }
    let commands = commands(dockerfile)?;
    let last_name = commands.iter().rev().find_map(|(_, command)| match command {
        Command::From(from) => Some(from.name.clone()),
        _ => None,
    });
    let target_name = options.target.clone().filter(|it| !it.is_empty()).or_else(|| last_name.flatten());
    let lex = Lex { escape: dockerfile.escape, ..Lex::default() };
    let globals = Globals::new(options, target_name.as_deref())
        .map_err(|fault| vec![general(fault.code, fault.message, &fault.help)])?;
    let mut out = Stages {
        dockerfile,
        stages: Vec::new(),
        target: StageId(0),
        lex,
        globals,
        budget: Budget::default(),
        contexts: Contexts::new(options),
    };
    out.group(commands, options)?;
    out.connect()?;
    out.target = out.find_target(options.target.as_deref())?;
    out.reach([out.target], Some(bases))?;
    let all: Vec<StageId> = out.stages.iter().map(|stage| stage.id).collect();
    match others {
        Others::Skipped => {}
        Others::Run => out.reach(all, Some(bases))?,
        Others::AsWritten => out.reach(all, None)?,
    }
    Ok(out)
}

fn commands(dockerfile: &Dockerfile) -> Result<Vec<(&Instruction, Command)>, Vec<Diagnostic>> {
    let mut commands = Vec::with_capacity(dockerfile.instructions.len());
    let mut errors = Vec::new();
    for instruction in &dockerfile.instructions {
        match dockerfile::command_in(&dockerfile.text, instruction) {
            Ok(command) => commands.push((instruction, command)),
            Err(error) => errors.push(error),
        }
        if errors.len() == MAX_ERRORS {
            break;
        }
    }
    match errors.is_empty() {
        true => Ok(commands),
        // Of something else than text every line is wrong, and none says why.
        false if dockerfile.text.contains('\0') => {
            let help = "name the Dockerfile with -f, and check that it is plain text";
            Err(vec![general("binary", "this is not a Dockerfile: it holds zero bytes".to_owned(), help)])
        }
        false => Err(errors),
    }
}

impl<'a> Stages<'a> {
    pub(super) fn stage(&self, id: StageId) -> Option<&StageDraft<'a>> {
        self.stages.get(id.0 as usize)
    }

    /// The images among the bases of the stages that run, but for those that are known.
    pub(super) fn missing(&self, known: &BTreeMap<String, ImageConfig>) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let needed = self.stages.iter().filter(|stage| stage.needed);
        let images = needed.filter_map(|stage| match &stage.base {
            Base::Image(name) if !known.contains_key(name) => Some(name.clone()),
            _ => None,
        });
        images.filter(|name| seen.insert(name.clone())).collect()
    }

    /// An error of an instruction, placed in the text.
    pub(super) fn error(&self, fault: Fault, instruction: &Instruction) -> Diagnostic {
        fault.in_text(&self.dockerfile.text, instruction)
    }

    fn group(&mut self, commands: Vec<(&'a Instruction, Command)>, options: &Options) -> Result<(), Vec<Diagnostic>> {
        let mut names: HashMap<String, StageId> = HashMap::new();
        let mut errors = Vec::new();
        for (instruction, command) in commands {
            let result = match command {
                Command::From(from) => self.begin_stage(&from, instruction, &mut names),
                Command::Arg(arguments) if self.stages.is_empty() => {
                    self.globals.declare(&arguments, instruction.lines.start, options, self.lex, &self.budget)
                }
                command => match self.stages.last_mut() {
                    Some(stage) => {
                        let instruction = Cow::Borrowed(instruction);
                        stage.body.push(Draft { instruction, command, onbuild: false, sources: Vec::new() });
                        Ok(())
                    }
                    None => {
                        let keyword = instruction.keyword.to_uppercase();
                        Err(Fault::new("no-stage", format!("{keyword} stands before the first FROM"), "")
                            .help("only ARG can: begin the file with FROM"))
                    }
                },
            };
            if let Err(fault) = result {
                errors.push(self.error(fault, instruction));
            }
        }
        if self.stages.is_empty() && errors.is_empty() {
            errors.push(general("no-stage", "the Dockerfile has no stage".to_owned(), "a stage begins with FROM"));
        }
        errors.truncate(MAX_ERRORS);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn begin_stage(
        &mut self,
        from: &FromCommand,
        instruction: &'a Instruction,
        names: &mut HashMap<String, StageId>,
    ) -> Result<(), Fault> {
        let id = StageId(self.stages.len() as u32);
        let written = instruction.args.get(2).cloned();
        let mut stage = StageDraft {
            id,
            from: instruction,
            name: written,
            base: Base::Scratch,
            directory: None,
            platform: self.globals.platform.to_string(),
            replaced: false,
            body: Vec::new(),
            needed: false,
            triggered: false,
        };
        let result = self.base(from, names, &mut stage);
        if let Some(name) = &from.name {
            names.insert(name.clone(), id);
        }
        // The stage is kept even if its base is not understood, so that its instructions are looked at too.
        self.stages.push(stage);
        result
    }

    fn base(
        &self,
        from: &FromCommand,
        names: &HashMap<String, StageId>,
        stage: &mut StageDraft<'a>,
    ) -> Result<(), Fault> {
        let base = expand(self.lex, &from.base, &self.globals.vars, &self.budget)?;
        if base.is_empty() {
            let fault = Fault::new("base", format!("{} is empty here, and FROM needs an image", from.base), &from.base);
            return Err(fault.help("give the argument a default before the first FROM, or --build-arg"));
        }
        if let Some(written) = &from.platform {
            stage.platform = self.stage_platform(written)?;
        }
        let suffix = match stage.platform == self.globals.platform.to_string() {
            true => String::new(),
            false => format!("::{}", stage.platform),
        };
        if let Some(name) = &from.name {
            // A context can take the stage's place, so that its name must do for one.
            if ImageName::parse(name).is_err() {
                let fault = Fault::new(
                    "stage-name",
                    format!("{name:?} cannot name a stage"),
                    stage.name.as_deref().unwrap_or(name),
                );
                return Err(
                    fault.help("it ends with a letter or a digit, and has no two dots or three underscores in a row")
                );
            }
            if let Some(context) = self.contexts.find(name) {
                stage.replaced = true;
                self.set_base(stage, context, &suffix);
                return Ok(());
            }
        }
        if let Some(earlier) = names.get(&base) {
            stage.base = Base::Stage(*earlier);
            return Ok(());
        }
        let origin = self.contexts.resolve(&base).map_err(|why| {
            let fault = Fault::new("base", format!("{base:?} is no stage and cannot name an image: {why}"), &from.base);
            let stages = names.keys().map(String::as_str);
            match nearest(&base, stages)
                .or_else(|| names.get_key_value(&base.to_lowercase()).map(|(name, _)| name.as_str()))
            {
                Some(near) => fault.help(format!("did you mean {near}?")),
                None => fault,
            }
        })?;
        self.set_base(stage, origin, &suffix);
        Ok(())
    }

    fn set_base(&self, stage: &mut StageDraft<'a>, origin: FileOrigin, suffix: &str) {
        match origin {
            FileOrigin::Context { name } => stage.directory = name,
            FileOrigin::Image(name) => stage.base = Base::Image(name + suffix),
            FileOrigin::Stage(_) | FileOrigin::Scratch => {}
        }
    }

    fn stage_platform(&self, written: &str) -> Result<String, Fault> {
        let value = expand(self.lex, written, &self.globals.vars, &self.budget)?;
        if value.is_empty() {
            let fault = Fault::new("platform", format!("--platform={written} is empty here"), written);
            let name = written.trim_start_matches(['$', '{']).trim_end_matches('}');
            return Err(match nearest(name, self.globals.vars.names()) {
                Some(near) => fault.help(format!("did you mean ${near}?")),
                None => fault,
            });
        }
        let platform = value.parse::<Platform>().map_err(|error| Fault::new("platform", error.to_string(), written))?;
        Ok(platform.to_string())
    }

    /// Finds what every COPY and RUN reads, and refuses circles.
    fn connect(&mut self) -> Result<(), Vec<Diagnostic>> {
        let names = self.names();
        let mut errors = Vec::new();
        for at in 0..self.stages.len() {
            let mut body = std::mem::take(&mut self.stages[at].body);
            for draft in &mut body {
                match self.sources(&draft.command, &names) {
                    Ok(sources) => draft.sources = sources,
                    Err(fault) => errors.push(self.error(fault, &draft.instruction)),
                }
            }
            self.stages[at].body = body;
        }
        if errors.is_empty() {
            errors.extend(self.circle());
        }
        errors.truncate(MAX_ERRORS);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Stages by name in lower case; of several the last.
    fn names(&self) -> HashMap<String, StageId> {
        let named = self.stages.iter().filter_map(|stage| Some((stage.name.as_ref()?.to_lowercase(), stage.id)));
        named.collect()
    }

    fn sources(&self, command: &Command, names: &HashMap<String, StageId>) -> Result<Vec<Option<FileOrigin>>, Fault> {
        match command {
            Command::Copy(copy) => match &copy.from {
                Some(from) => Ok(vec![Some(self.copy_source(from, names)?)]),
                None => Ok(Vec::new()),
            },
            Command::Run(run) => {
                let source = |from: &str| self.named_source(from, names, "from");
                run.mounts.iter().map(|mount| mount.from().map(source).transpose()).collect()
            }
            _ => Ok(Vec::new()),
        }
    }

    fn copy_source(&self, from: &str, names: &HashMap<String, StageId>) -> Result<FileOrigin, Fault> {
        if expand(self.lex, from, &Vars::default(), &self.budget)? != from {
            let message = format!("variables are not expanded in --from={from}");
            return Err(Fault::new("copy-from", message, from)
                .help("give the image a stage of its own, FROM … AS name, and copy --from=name"));
        }
        let Ok(index) = from.parse::<i64>() else { return self.named_source(from, names, "--from") };
        match u32::try_from(index).ok().filter(|index| (*index as usize) < self.stages.len()) {
            Some(index) => Ok(FileOrigin::Stage(StageId(index))),
            None => {
                let last = self.stages.len().saturating_sub(1);
                Err(Fault::new("copy-from", format!("--from={from}: there is no stage {from}"), from)
                    .help(format!("stages are counted from 0, and the last here is {last}")))
            }
        }
    }

    fn named_source(&self, from: &str, names: &HashMap<String, StageId>, flag: &str) -> Result<FileOrigin, Fault> {
        if let Some(stage) = names.get(&from.to_lowercase()) {
            return Ok(FileOrigin::Stage(*stage));
        }
        self.contexts.resolve(from).map_err(|why| {
            let message = format!("{flag}={from}: there is no stage of this name, and it cannot name an image: {why}");
            let fault = Fault::new("copy-from", message, from);
            match nearest(from, names.keys().map(String::as_str)) {
                Some(near) => fault.help(format!("did you mean {near}?")),
                None => fault,
            }
        })
    }

    /// A circle among `--from` and `from=`, if there is one. What a stage is built on always stands before it.
    fn circle(&self) -> Option<Diagnostic> {
        let reads: Vec<Vec<(usize, StageId)>> = self.stages.iter().map(|stage| stage.reads().collect()).collect();
        let circle = circle::find(&reads)?;
        let stages: Vec<&StageDraft> = circle.stages.iter().filter_map(|id| self.stage(*id)).collect();
        let (first, last) = (stages.first()?, stages.last()?);
        let names: Vec<String> = stages.iter().map(|stage| stage.label()).collect();
        let message = match names.as_slice() {
            [only] => format!("stage {only} reads from itself (circular dependency)"),
            names => {
                let chain = names.join(" → ");
                format!("stages need each other in a circle: {chain} → {} (circular dependency)", first.label())
            }
        };
        let fault = Fault::new("circle", message, "").help("a stage reads only from stages above it");
        Some(self.error(fault, &last.body.get(circle.closed_by)?.instruction))
    }

    fn find_target(&self, wanted: Option<&str>) -> Result<StageId, Vec<Diagnostic>> {
        let last = StageId(self.stages.len().saturating_sub(1) as u32);
        let Some(wanted) = wanted.filter(|it| !it.is_empty()) else { return Ok(last) };
        if let Some(stage) = self.names().get(&wanted.to_lowercase()) {
            return Ok(*stage);
        }
        if let Some(index) = wanted.parse::<u32>().ok().filter(|index| *index <= last.0) {
            return Ok(StageId(index));
        }
        let names: Vec<&str> = self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let near = nearest_few(wanted, names.iter().copied(), 3);
        let help = match (near.as_slice(), names.as_slice()) {
            ([], []) => format!("no stage has a name; they are 0 to {}", last.0),
            ([], names) => format!("the stages are {}", names.iter().take(20).copied().collect::<Vec<_>>().join(", ")),
            (near, _) => format!("did you mean {}?", near.join(" or ")),
        };
        Err(vec![general("target", format!("there is no stage {wanted:?} to build"), &help)])
    }

    /// Marks stages and all that they need. A base's triggers can add to them, so that it goes on until nothing is new;
    /// without `bases` there are none.
    fn reach(
        &mut self,
        stages: impl IntoIterator<Item = StageId>,
        bases: Option<&BTreeMap<String, ImageConfig>>,
    ) -> Result<(), Vec<Diagnostic>> {
        let mut open: Vec<StageId> = stages.into_iter().collect();
        let names = self.names();
        while let Some(id) = open.pop() {
            let at = id.0 as usize;
            if self.stages[at].needed {
                continue;
            }
            self.stages[at].needed = true;
            if let Some(bases) = bases {
                self.add_triggers(at, bases, &names).map_err(|error| vec![error])?;
            }
            open.extend(self.stages[at].needs());
        }
        Ok(())
    }

    /// Puts the `ONBUILD` triggers of its base before a stage's own instructions.
    fn add_triggers(
        &mut self,
        at: usize,
        bases: &BTreeMap<String, ImageConfig>,
        names: &HashMap<String, StageId>,
    ) -> Result<(), Diagnostic> {
        let stage = &self.stages[at];
        if stage.triggered || stage.replaced {
            return Ok(());
        }
        let texts: Vec<String> = match &stage.base {
            Base::Scratch => Vec::new(),
            Base::Image(name) => bases.get(name).map(|it| it.config.on_build.clone()).unwrap_or_default(),
            Base::Stage(base) => self.stages[base.0 as usize].triggers(),
        };
        let from = stage.from;
        if texts.len() > MAX_INSTRUCTIONS {
            let message =
                format!("the base has {} ONBUILD triggers, and at most {MAX_INSTRUCTIONS} can be planned", texts.len());
            return Err(self.error(Fault::new("too-large", message, ""), from));
        }
        let mut drafts = Vec::new();
        for text in &texts {
            let draft = self.trigger(text, from, names).map_err(|fault| {
                let message = format!("ONBUILD {} of the base: {}", first_line(text), fault.message);
                self.error(Fault { message, word: String::new(), ..fault }, from)
            })?;
            drafts.push(draft);
        }
        let stage = &mut self.stages[at];
        stage.triggered = true;
        drafts.append(&mut stage.body);
        stage.body = drafts;
        Ok(())
    }

    fn trigger(&self, text: &str, from: &Instruction, names: &HashMap<String, StageId>) -> Result<Draft<'a>, Fault> {
        let parsed = dockerfile::parse(text.as_bytes());
        if let Some(error) = parsed.diagnostics.into_iter().next() {
            return Err(Fault::new("onbuild", error.message, ""));
        }
        let [instruction] = parsed.instructions.as_slice() else {
            return Err(Fault::new("onbuild", "it is not one instruction", ""));
        };
        let command = dockerfile::command(instruction)
            .map_err(|error| Fault::new("onbuild", error.message, "").help(error.help))?;
        if matches!(command, Command::From(_)) {
            return Err(Fault::new("onbuild", "FROM cannot be put off", ""));
        }
        let instruction = Instruction { lines: from.lines, span: from.span, ..instruction.clone() };
        let sources = self.sources(&command, names)?;
        Ok(Draft { instruction: Cow::Owned(instruction), command, onbuild: true, sources })
    }
}

impl StageDraft<'_> {
    pub(super) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.0.to_string())
    }

    /// The stage it is built on.
    pub(super) fn parent(&self) -> Option<StageId> {
        match self.base {
            Base::Stage(stage) => Some(stage),
            _ => None,
        }
    }

    /// The stages that its instructions read, each with the instruction's place in the body.
    fn reads(&self) -> impl Iterator<Item = (usize, StageId)> {
        let sources = self.body.iter().enumerate().flat_map(|(at, draft)| draft.sources.iter().map(move |it| (at, it)));
        sources.filter_map(|(at, source)| match source {
            Some(FileOrigin::Stage(stage)) => Some((at, *stage)),
            _ => None,
        })
    }

    /// The stages that must be there before it.
    fn needs(&self) -> BTreeSet<StageId> {
        if self.replaced {
            return BTreeSet::new();
        }
        self.parent().into_iter().chain(self.reads().map(|(_, stage)| stage)).collect()
    }

    /// What its own `ONBUILD` instructions leave to the stages built on it; also, as in BuildKit, if a context takes
    /// its place.
    fn triggers(&self) -> Vec<String> {
        let texts = self.body.iter().filter_map(|draft| match &draft.command {
            Command::Onbuild(text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().take(60).collect()
}

/// An error that has no place in the text.
fn general(code: &str, message: String, help: &str) -> Diagnostic {
    let span = Span { start: 0, end: 0 };
    Diagnostic { severity: Severity::Error, code: code.to_owned(), message, span, help: help.to_owned() }
}
