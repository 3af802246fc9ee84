//! Breakpoints: from a wanted place to the step that they stop before.

use super::{Breakpoint, BreakpointId, BreakpointState, Location, Trigger, Watch};
use crate::plan::{Plan, Stage, StageId, Step, StepId};

/// All breakpoints of a session, in the order they were set.
#[derive(Debug, Clone, Default)]
pub struct Breakpoints {
    list: Vec<Breakpoint>,
    last_id: u32,
}

impl Breakpoints {
    pub fn list(&self) -> &[Breakpoint] {
        &self.list
    }

    /// The enabled breakpoint before a step.
    pub fn at(&self, step: StepId) -> Option<BreakpointId> {
        let here = |state: &BreakpointState| matches!(state, BreakpointState::Bound { step: at, .. } if *at == step);
        self.list.iter().find(|it| it.enabled && here(&it.state)).map(|it| it.id)
    }

    /// The enabled watchpoints.
    pub fn watches(&self) -> impl Iterator<Item = (BreakpointId, &Watch)> {
        self.list.iter().filter(|it| it.enabled).filter_map(|it| match &it.wanted {
            Trigger::Change(watch) => Some((it.id, watch)),
            Trigger::Before(_) => None,
        })
    }

    /// Sets one, or enables again the one that is there.
    pub fn set(&mut self, wanted: Trigger, plan: Option<&Plan>) -> &Breakpoint {
        let at = match self.list.iter().position(|it| it.wanted == wanted) {
            Some(at) => at,
            None => {
                self.last_id += 1;
                let state = state(plan, &wanted);
                self.list.push(Breakpoint { id: BreakpointId(self.last_id), wanted, enabled: true, state, hits: 0 });
                self.list.len() - 1
            }
        };
        self.list[at].enabled = true;
        &self.list[at]
    }

    /// Whether there was one.
    pub fn remove(&mut self, id: BreakpointId) -> bool {
        let before = self.list.len();
        self.list.retain(|it| it.id != id);
        self.list.len() < before
    }

    pub fn enable(&mut self, id: BreakpointId, enabled: bool) -> bool {
        let found = self.list.iter_mut().find(|it| it.id == id);
        found.map(|it| it.enabled = enabled).is_some()
    }

    pub fn hit(&mut self, id: BreakpointId) {
        if let Some(it) = self.list.iter_mut().find(|it| it.id == id) {
            it.hits += 1;
        }
    }

    /// Binds all to a plan. With the plan they were bound to before, those set by line follow their
    /// instruction to the line where it is now.
    pub fn rebind(&mut self, old: Option<&Plan>, new: &Plan) {
        for it in &mut self.list {
            let followed = match (&it.wanted, &it.state, old) {
                (Trigger::Before(Location::Line(_)), BreakpointState::Bound { step, .. }, Some(old)) => {
                    follow(old, *step, new)
                }
                _ => None,
            };
            match followed {
                Some(step) => {
                    let line = new.step(step).lines.start;
                    let there = Trigger::Before(Location::Line(line));
                    if it.wanted != there {
                        it.wanted = there;
                        it.state = BreakpointState::Bound { step, note: Some(format!("followed to line {line}")) };
                    } else {
                        it.state = state(Some(new), &it.wanted);
                    }
                }
                None => it.state = state(Some(new), &it.wanted),
            }
        }
    }
}

fn state(plan: Option<&Plan>, wanted: &Trigger) -> BreakpointState {
    match (wanted, plan) {
        (Trigger::Change(_), _) => BreakpointState::Watching,
        (Trigger::Before(_), None) => BreakpointState::Pending,
        (Trigger::Before(place), Some(plan)) => bind(plan, place),
    }
}

/// The step that a place names in a plan, or why there is none.
pub fn bind(plan: &Plan, wanted: &Location) -> BreakpointState {
    match wanted {
        Location::Line(line) => bind_line(plan, *line),
        Location::Instruction { stage, index } => bind_instruction(plan, stage, *index),
    }
}

fn bind_line(plan: &Plan, line: u32) -> BreakpointState {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps).filter(|step| !step.onbuild);
    let next = steps.filter(|step| step.lines.end >= line).min_by_key(|step| step.lines);
    match next {
        None => unbound(format!("line {line} has no instruction, nor has any line after it")),
        Some(step) if step.lines.start <= line => bound(plan, step, None),
        Some(step) => {
            let at = step.lines.start;
            bound(plan, step, Some(format!("line {line} has nothing to run; moved to line {at}")))
        }
    }
}

fn bind_instruction(plan: &Plan, stage: &str, index: u32) -> BreakpointState {
    let Some(stage) = plan.find_stage(stage).map(|id| plan.stage(id)) else {
        let known: Vec<String> = plan.stages.iter().map(Stage::label).collect();
        return unbound(format!("there is no stage {stage:?}; there are: {}", known.join(", ")));
    };
    match stage.steps.get(index as usize) {
        Some(step) => bound(plan, step, None),
        None => {
            let last = stage.steps.len().saturating_sub(1);
            unbound(format!("stage {} has instructions 0 to {last}", stage.label()))
        }
    }
}

fn bound(plan: &Plan, step: &Step, note: Option<String>) -> BreakpointState {
    match plan.order.contains(&step.id.stage) {
        true => BreakpointState::Bound { step: step.id, note },
        false => unbound(format!("stage {} is skipped: the target does not need it", label(plan, step.id.stage))),
    }
}

fn unbound(reason: String) -> BreakpointState {
    BreakpointState::Unbound { reason }
}

fn label(plan: &Plan, stage: StageId) -> String {
    plan.stage(stage).label()
}

/// Where an instruction of the old plan is in the new one: in the stage of the same name, with the same text,
/// the nearest if there are several.
fn follow(old: &Plan, step: StepId, new: &Plan) -> Option<StepId> {
    let text = &old.step(step).text;
    let stage = matching_stage(old, step.stage, new)?;
    let same = new.stage(stage).steps.iter().filter(|it| it.text == *text && !it.onbuild);
    let nearest = same.min_by_key(|it| it.id.index.abs_diff(step.index))?;
    new.order.contains(&stage).then_some(nearest.id)
}

/// The stage of a new plan that an old one has become: by name, or by index where it has none. Of several with
/// one name, each becomes the one of the same turn.
pub fn matching_stage(old: &Plan, stage: StageId, new: &Plan) -> Option<StageId> {
    let was = old.stage(stage);
    let Some(name) = &was.name else {
        return new.stages.get(stage.0 as usize).filter(|it| it.name.is_none()).map(|it| it.id);
    };
    let same = |it: &&Stage| it.name.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(name));
    let turn = old.stages.iter().filter(same).take_while(|it| it.id != stage).count();
    new.stages.iter().filter(same).nth(turn).map(|it| it.id)
}

impl std::str::FromStr for Location {
    type Err = String;

    /// `12` is a line; `builder:3` and `0:3` are an instruction of a stage.
    fn from_str(text: &str) -> Result<Location, String> {
        let wrong = || format!("{text:?} is not a place: give a line (`12`) or `stage:instruction` (`builder:3`)");
        match text.rsplit_once(':') {
            None => text.parse().ok().filter(|line| *line > 0).map(Location::Line).ok_or_else(wrong),
            Some((stage, index)) if !stage.is_empty() => {
                let index = index.parse().map_err(|_| wrong())?;
                Ok(Location::Instruction { stage: stage.to_owned(), index })
            }
            Some(_) => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Location {
    /// As it is read by [`FromStr`](std::str::FromStr).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Line(line) => write!(f, "{line}"),
            Location::Instruction { stage, index } => write!(f, "{stage}:{index}"),
        }
    }
}

impl std::fmt::Display for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trigger::Before(place) => place.fmt(f),
            Trigger::Change(watch) => watch.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::tests::{DIAMOND, TWO, plan_of};

    fn told(plan: &Plan, state: &BreakpointState) -> String {
        match state {
            BreakpointState::Pending => "pending".to_owned(),
            BreakpointState::Watching => "watching".to_owned(),
            BreakpointState::Unbound { reason } => format!("unbound: {reason}"),
            BreakpointState::Bound { step, note } => {
                let note = note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
                format!("{}:{}{note}", label(plan, step.stage), step.index)
            }
        }
    }

    fn check(dockerfile: &str, wanted: &str, expected: &str) {
        let plan = plan_of(dockerfile);
        let wanted: Location = wanted.parse().unwrap();
        assert_eq!(told(&plan, &bind(&plan, &wanted)), expected, "{wanted}");
    }

    #[test]
    fn a_line_is_bound_to_the_instruction_there_or_the_next() {
        let file = "# one\nFROM scratch AS s\n\nRUN a \\\n  b\n# six\nRUN c\n\n";
        check(file, "1", "s:0, line 1 has nothing to run; moved to line 2");
        check(file, "2", "s:0");
        check(file, "3", "s:1, line 3 has nothing to run; moved to line 4");
        check(file, "4", "s:1");
        check(file, "5", "s:1");
        check(file, "6", "s:2, line 6 has nothing to run; moved to line 7");
        check(file, "8", "unbound: line 8 has no instruction, nor has any line after it");
    }

    #[test]
    fn an_instruction_is_bound_by_its_stage() {
        check(TWO, "builder:2", "builder:2");
        check(TWO, "BUILDER:0", "builder:0");
        check(TWO, "1:1", "final:1");
        check(TWO, "builder:3", "unbound: stage builder has instructions 0 to 2");
        check(TWO, "none:1", "unbound: there is no stage \"none\"; there are: builder, final");
        let skipped = "unbound: stage left is skipped: the target does not need it";
        check(DIAMOND.rsplit_once("COPY --from=left").unwrap().0, "left:1", skipped);
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["1", "120", "builder:0", "0:3"] {
            assert_eq!(text.parse::<Location>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "0", "-1", "x", ":", ":1", "a:", "a:b", "a:-1", "99999999999"] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    /// Set by line in `old`, then the file becomes `new`.
    fn check_follows(old: &str, line: u32, new: &str, expected: &str) {
        let (old, new) = (plan_of(old), plan_of(new));
        let mut breakpoints = Breakpoints::default();
        breakpoints.set(Trigger::Before(Location::Line(line)), Some(&old));
        breakpoints.rebind(Some(&old), &new);
        let it = &breakpoints.list()[0];
        assert_eq!(format!("{} {}", it.wanted, told(&new, &it.state)), expected);
    }

    #[test]
    fn breakpoints_follow_their_instruction() {
        check_follows(TWO, 3, TWO, "3 builder:2");
        check_follows(TWO, 3, &format!("# more\n{TWO}"), "4 builder:2, followed to line 4");
        check_follows(TWO, 3, &TWO.replace("RUN make\n", ""), "2 builder:1, followed to line 2");
        check_follows(TWO, 3, &format!("FROM scratch AS first\n{TWO}"), "4 builder:2, followed to line 4");
        // The instruction is gone, so the line is what there is.
        check_follows(TWO, 3, &TWO.replace("RUN test", "RUN check"), "3 builder:2");
    }

    #[test]
    fn one_place_has_one_breakpoint() {
        let plan = plan_of(TWO);
        let mut breakpoints = Breakpoints::default();
        let id = breakpoints.set(Trigger::Before(Location::Line(2)), None).id;
        assert_eq!(breakpoints.list()[0].state, BreakpointState::Pending);
        breakpoints.rebind(None, &plan);
        let step = StepId { stage: StageId(0), index: 1 };
        assert_eq!(breakpoints.at(step), Some(id));
        assert!(breakpoints.enable(id, false));
        assert_eq!(breakpoints.at(step), None);
        assert_eq!(breakpoints.set(Trigger::Before(Location::Line(2)), Some(&plan)).id, id);
        breakpoints.hit(id);
        assert_eq!((breakpoints.at(step), breakpoints.list()[0].hits), (Some(id), 1));
        assert!(breakpoints.remove(id) && !breakpoints.remove(id) && !breakpoints.enable(id, true));
        assert_ne!(
            breakpoints.set(Trigger::Before(Location::Line(2)), Some(&plan)).id,
            id,
            "numbers are not used again"
        );
    }
}
