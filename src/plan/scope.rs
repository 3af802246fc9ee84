//! What is in force at one point of a stage: variables, the image's configuration, the shell.
//!
//! ENV and ARG share one set of variables, in the order in which they were last set: what is set last wins,
//! whichever of the two set it. Only ENV reaches the configuration.

use super::{Origin, State, Variable, proxies, unix_path};
use crate::dockerfile::budget::Budget;
use crate::dockerfile::command::Fault;
use crate::dockerfile::expand::Lex;
use crate::dockerfile::lint::is_scan_switch;
use crate::image::config::{History, ImageConfig, RootFs};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where programs are looked for if the base image does not say.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// About what a word takes besides its bytes.
pub(super) const WORD: usize = 32;

/// Variables in the order in which they were last set.
#[derive(Debug, Clone, Default)]
pub(super) struct Vars {
    values: HashMap<String, (u64, String)>,
    order: BTreeMap<u64, String>,
    next: u64,
}

impl Vars {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        if let Some((at, _)) = self.values.insert(name.to_owned(), (self.next, value.to_owned())) {
            self.order.remove(&at);
        }
        self.order.insert(self.next, name.to_owned());
        self.next += 1;
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.values().map(String::as_str)
    }

    /// `NAME=value`, what was set last at the end.
    pub(super) fn list(&self) -> Vec<String> {
        self.names().map(|name| format!("{name}={}", self.get(name).unwrap_or(""))).collect()
    }
}

/// One word with its variables expanded.
pub(super) fn expand(lex: Lex, text: &str, vars: &Vars, budget: &Budget) -> Result<String, Fault> {
    let lookup = |name: &str| vars.get(name).map(str::to_owned);
    let word = lex.word(text, &lookup).map_err(|error| Fault::new("expansion", error.to_string(), text))?;
    budget.take(word.len())?;
    Ok(word)
}

#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    pub lex: Lex,
    pub budget: &'a Budget,
    pub vars: Vars,
    /// Without history and root file system.
    pub image: ImageConfig,
    pub env: Vec<Variable>,
    pub args: Vec<Variable>,
    /// Proxies of `--build-arg` and of the configuration, as `NAME=value`.
    pub proxies: Arc<[String]>,
    /// The working directory of the next step; the configuration's may be empty.
    pub cwd: String,
    /// Whether this stage has set CMD, which ENTRYPOINT then leaves alone.
    pub cmd_set: bool,
    state: Option<Arc<State>>,
}

impl<'a> Scope<'a> {
    /// At the beginning of a stage on an image.
    pub(super) fn on_image(lex: Lex, budget: &'a Budget, proxies: Arc<[String]>, image: &ImageConfig) -> Scope<'a> {
        let image =
            ImageConfig { created: None, history: Vec::<History>::new(), rootfs: RootFs::default(), ..image.clone() };
        let mut scope = Scope {
            lex,
            budget,
            vars: Vars::default(),
            image,
            env: Vec::new(),
            args: Vec::new(),
            proxies,
            cwd: "/".to_owned(),
            cmd_set: false,
            state: None,
        };
        scope.image.config.on_build.clear();
        scope.env = scope.image.config.env.iter().map(|entry| variable(entry, Origin::Base)).collect();
        scope.begin();
        scope
    }

    /// At the beginning of a stage on another stage, which ends as `parent`.
    pub(super) fn on_stage(parent: &Scope<'a>) -> Scope<'a> {
        let mut scope = Scope { cmd_set: false, state: None, ..parent.clone() };
        scope.image.config.on_build.clear();
        scope.begin();
        scope
    }

    /// Takes over what the configuration says.
    fn begin(&mut self) {
        let config = &mut self.image.config;
        if !config.env.iter().any(|entry| entry.split('=').next() == Some("PATH")) {
            let path = format!("PATH={DEFAULT_PATH}");
            self.env.push(variable(&path, Origin::Predefined));
            config.env.push(path);
        }
        for entry in &config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.vars.set(name, value);
        }
        if !config.working_dir.is_empty() {
            config.working_dir = unix_path::workdir(&config.working_dir, &config.working_dir);
            self.cwd = config.working_dir.clone();
        }
    }

    pub(super) fn expand(&self, text: &str) -> Result<String, Fault> {
        expand(self.lex, text, &self.vars, self.budget)
    }

    /// The words that a text expands to.
    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, Fault> {
        let lookup = |name: &str| self.vars.get(name).map(str::to_owned);
        let words = self.lex.words(text, &lookup).map_err(|error| Fault::new("expansion", error.to_string(), text))?;
        self.budget.take(words.iter().map(|word| word.len() + WORD).sum())?;
        Ok(words)
    }

    /// Says that something changes: the next step has a state of its own.
    pub(super) fn touch(&mut self) {
        self.state = None;
    }

    pub(super) fn set_env(&mut self, name: &str, value: &str, line: u32) {
        self.touch();
        self.vars.set(name, value);
        let entry = format!("{name}={value}");
        let entries = &mut self.image.config.env;
        match entries.iter_mut().find(|it| it.split('=').next() == Some(name)) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
        put(&mut self.env, name, Some(value), Origin::Line(line));
    }

    /// Declares an ARG; without a value it is not set.
    pub(super) fn set_arg(&mut self, name: &str, value: Option<&str>, origin: Origin) {
        self.touch();
        if let Some(value) = value.filter(|_| !is_scan_switch(name)) {
            self.vars.set(name, value);
        }
        put(&mut self.args, name, value, origin);
    }

    /// What a process started here sees.
    pub(super) fn environment(&self) -> Vec<String> {
        let mut out = self.vars.list();
        for proxy in self.proxies.iter() {
            let name = proxy.split('=').next();
            out.retain(|entry| entry.split('=').next() != name);
        }
        out.extend(self.proxies.iter().cloned());
        out
    }

    /// Names of [`Scope::environment`] that no cache key may hold: proxies that no ARG or ENV declares.
    pub(super) fn unkeyed(&self) -> Vec<String> {
        let names = self.proxies.iter().filter_map(|entry| entry.split('=').next());
        names.filter(|name| self.vars.get(name).is_none()).map(str::to_owned).collect()
    }

    pub(super) fn shell(&self) -> Vec<String> {
        match self.image.config.shell.as_deref() {
            Some(shell) if !shell.is_empty() => shell.to_vec(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        }
    }

    /// The state at this point, shared with the last step if nothing has changed since.
    pub(super) fn state(&mut self) -> Result<Arc<State>, Fault> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        self.budget.take(self.size())?;
        let state = Arc::new(State {
            image: self.image.clone(),
            env: self.env.clone(),
            args: self.args.clone(),
            environment: self.environment(),
            shell: self.shell(),
        });
        self.state = Some(state.clone());
        Ok(state)
    }

    /// Bytes that a state takes, about.
    fn size(&self) -> usize {
        const ENTRY: usize = 80;
        let variables = self.env.iter().chain(&self.args);
        let variables = variables.map(|it| 3 * (ENTRY + it.name.len() + it.value.as_ref().map_or(0, String::len)));
        let config = &self.image.config;
        let labels = config.labels.iter().map(|(name, value)| ENTRY + name.len() + value.len());
        let sets = config.exposed_ports.keys().chain(config.volumes.keys()).chain(&config.on_build);
        let sets = sets.map(|it| ENTRY + it.len());
        1024 + variables.chain(labels).chain(sets).sum::<usize>()
    }
}

/// Whether a build argument is known without being declared: proxies, and BuildKit's own switches.
pub(super) fn is_predefined(name: &str) -> bool {
    proxies::is_proxy(name) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

fn variable(entry: &str, origin: Origin) -> Variable {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    Variable { name: name.to_owned(), value: Some(value.to_owned()), origin }
}

fn put(list: &mut Vec<Variable>, name: &str, value: Option<&str>, origin: Origin) {
    let value = value.map(str::to_owned);
    match list.iter_mut().find(|it| it.name == name) {
        Some(old) => (old.value, old.origin) = (value, origin),
        None => list.push(Variable { name: name.to_owned(), value, origin }),
    }
}
