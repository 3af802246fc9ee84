use super::*;
use crate::debug::tests::plan_of;
use crate::layers::{ContentHash, Entry, Layer, Meta};
use bstr::ByteSlice;
use proptest::prelude::*;

/// A file as `PATH SIZE`, with a mode where one follows; a directory as `PATH/`; `-PATH` takes one away.
fn entry(line: &str) -> Entry {
    if let Some(path) = line.strip_prefix('-') {
        return Entry::Whiteout { path: path.into() };
    }
    if let Some(path) = line.strip_suffix('/') {
        return Entry::Put { path: path.into(), meta: Meta::new(Kind::Directory), opaque: false };
    }
    let mut words = line.split(' ');
    let path = words.next().unwrap().into();
    let size = words.next().unwrap().parse().unwrap();
    let mode = words.next().map_or(0o644, |mode| u32::from_str_radix(mode, 8).unwrap());
    Entry::Put { path, meta: Meta { size, mode, ..Meta::new(Kind::File) }, opaque: false }
}

fn layer(lines: &[&str]) -> Arc<Layer> {
    Arc::new(Layer { entries: lines.iter().map(|line| entry(line)).collect() })
}

/// Facts of a plan whose steps make these layers: those that make one, stage by stage, in order.
fn facts(dockerfile: &str, mut layers: Vec<Arc<Layer>>, context: &[&str]) -> Facts {
    let plan = plan_of(dockerfile);
    layers.reverse();
    let mut stacks: BTreeMap<StageId, Vec<Arc<Layer>>> = BTreeMap::new();
    let mut stages = BTreeMap::new();
    for id in &plan.order {
        let mut stack = match plan.stage(*id).base {
            Base::Stage(base) => stacks[&base].clone(),
            Base::Image(_) | Base::Scratch => Vec::new(),
        };
        let mut heights = Vec::new();
        for step in &plan.stage(*id).steps {
            if matches!(step.op, Op::Run(_) | Op::Copy(_)) {
                stack.push(layers.pop().expect("a layer for each step"));
            }
            heights.push(stack.len() as u32);
        }
        let layer_bytes = stack.iter().map(|layer| layer.bytes()).collect();
        stages.insert(*id, StageFacts { tree: Arc::new(FileTree::merge(&stack)), heights, layer_bytes });
        stacks.insert(*id, stack);
    }
    let context = Arc::new(FileTree::merge(&[layer(context)]));
    let sources = HashMap::from([(FileOrigin::Context { name: None }, context)]);
    Facts::new(plan, stages, &sources, HashMap::new())
}

fn shown(facts: &Facts, chain: &Chain) -> String {
    let hop = |hop: &Hop| {
        let stage = facts.plan.stage(hop.step.stage).label();
        let how = match hop.how {
            How::Touched => " (touched)",
            How::Copied | How::Wrote | How::Base => "",
        };
        format!("{stage}:{} /{}{how}", facts.plan.step(hop.step).lines.start, hop.path)
    };
    let hops = chain.hops.iter().map(hop).collect::<Vec<_>>();
    let end = Some(chain.end.words()).filter(|words| !words.is_empty());
    hops.into_iter().chain(end).collect::<Vec<_>>().join(" < ")
}

const THREE: &str = "\
FROM scratch AS builder
COPY src /src
RUN make
FROM scratch AS middle
COPY --from=builder /src/target /out
RUN chmod
FROM middle AS final
COPY --from=builder /src/doc/*.txt /doc/
COPY --from=middle --exclude=*.map /out /usr/bin/
COPY <<EOF /etc/motd
hello
EOF
";

pub(crate) fn three() -> Facts {
    let layers = vec![
        layer(&["src/", "src/a.c 1", "src/doc/x.txt 2", "src/doc/y.txt 3"]),
        layer(&["src/target/", "src/target/app 40", "src/target/app.map 5"]),
        layer(&["out/", "out/app 40", "out/app.map 5"]),
        layer(&["out/app 40 755"]),
        layer(&["doc/", "doc/x.txt 2", "doc/y.txt 3"]),
        layer(&["usr/", "usr/bin/", "usr/bin/app 40 755"]),
        layer(&["etc/", "etc/motd 6"]),
    ];
    facts(THREE, layers, &["src/", "src/a.c 1", "src/doc/x.txt 2", "src/doc/y.txt 3"])
}

#[track_caller]
fn check(facts: &Facts, stage: &str, path: &str, expected: &str) {
    let id = facts.plan.find_stage(stage).unwrap();
    let chain = facts.chain(id, path.into());
    assert_eq!(chain.map_or("none".to_owned(), |chain| shown(facts, &chain)), expected, "{stage} {path}");
}

#[test]
fn files_are_followed_to_the_instruction_that_wrote_them() {
    let facts = three();
    let app = "middle:6 /out/app (touched) < middle:5 /out/app < builder:3 /src/target/app";
    check(&facts, "final", "usr/bin/app", &format!("final:9 /usr/bin/app < {app}"));
    check(&facts, "final", "out/app", app);
    check(&facts, "final", "doc/x.txt", "final:8 /doc/x.txt < builder:2 /src/doc/x.txt < context src/doc/x.txt");
    check(&facts, "final", "etc/motd", "final:10 /etc/motd < heredoc EOF");
    check(&facts, "final", "out/app.map", "middle:5 /out/app.map < builder:3 /src/target/app.map");
    let at = |stage, index| StepId { stage: StageId(stage), index };
    let before_chmod = facts.chain_after(at(1, 1), "out/app".into()).unwrap();
    assert_eq!(shown(&facts, &before_chmod), "middle:5 /out/app < builder:3 /src/target/app");
    assert_eq!(facts.chain_after(at(0, 1), "src/target/app".into()), None);
    check(&facts, "builder", "src/a.c", "builder:2 /src/a.c < context src/a.c");
    check(&facts, "final", "doc", "final:8 /doc");
    check(&facts, "final", "nowhere", "none");
}

#[test]
fn a_file_that_is_written_again_is_the_later_instructions() {
    let dockerfile = "FROM scratch\nCOPY a /a\nRUN other\nRUN gone\nCOPY a /a\n";
    let stack = [layer(&["a 1"]), layer(&["a 2"]), layer(&["-a"]), layer(&["a 1"])];
    for (layers, expected) in [(4, "0:5 /a < context a"), (2, "0:3 /a")] {
        let dockerfile: String = dockerfile.lines().take(layers + 1).flat_map(|line| [line, "\n"]).collect();
        check(&facts(&dockerfile, stack[..layers].to_vec(), &["a 1"]), "0", "a", expected);
    }
}

#[test]
fn shares_of_stages_and_instructions() {
    let facts = three();
    let target = facts.plan.target;
    let found = Contribution::of(&facts, target).unwrap();
    let label = |stage: StageId| facts.plan.stage(stage).label();
    let stages: Vec<String> =
        found.stages.iter().map(|it| format!("{} {} {}", label(it.stage), it.built, it.shipped)).collect();
    assert_eq!(stages, ["builder 51 90", "middle 85 0", "final 51 6"]);
    assert_eq!(found.total, 96);
    let flows: Vec<String> =
        found.flows.iter().map(|((from, to), bytes)| format!("{}>{} {bytes}", label(*from), label(*to))).collect();
    assert_eq!(flows, ["builder>middle 85", "builder>final 5", "middle>final 40"]);
    let streams = found.streams.iter().map(|((from, by), bytes)| {
        let place = |step: StepId| format!("{}:{}", label(step.stage), facts.plan.step(step).lines.start);
        format!("{}>{} {bytes}", place(*from), place(*by))
    });
    let streams: Vec<String> = streams.collect();
    assert_eq!(
        streams,
        ["builder:2>final:8 5", "builder:3>middle:5 45", "builder:3>final:9 40", "final:10>final:10 6"]
    );
    let make = StepId { stage: StageId(0), index: 2 };
    assert_eq!(found.largest(1, |from, _| from == make), (vec![("out/app".into(), 40)], 2));
    let files: Vec<String> = found.files(make).iter().map(|(path, bytes)| format!("{path} {bytes}")).collect();
    assert_eq!(files, ["out/app 40", "usr/bin/app 40", "out/app.map 5"]);
    assert_eq!(found.percent(48), 50.0);
}

const RANDOM: &str = "\
FROM scratch AS one
RUN 1
COPY ctx /d1/
RUN 2
FROM one AS two
RUN 3
COPY --from=one /d1 /d2
FROM scratch AS three
RUN 4
COPY --from=two / /d3
RUN 5
COPY --from=one /d1/f* /d2/
";

/// Files and directories have other names, so that no copy fails.
fn written() -> impl Strategy<Value = Vec<(String, u8)>> {
    let dirs = prop::collection::vec(prop::sample::select(vec!["d1", "d2", "d3"]), 0..3);
    let path = (dirs, prop::sample::select(vec!["f1", "f2", "f3"])).prop_map(|(mut dirs, file)| {
        dirs.push(file);
        dirs.join("/")
    });
    prop::collection::vec((path, any::<u8>()), 0..8)
}

/// Layers as commands write them, each content another; a high number takes the path away.
fn command(number: usize, lines: &[(String, u8)]) -> Layer {
    let mut paths = std::collections::BTreeMap::new();
    for (index, (path, size)) in lines.iter().enumerate() {
        let content = Some(ContentHash((number * 100 + index) as u128));
        let meta = Meta { size: u64::from(*size), content, mtime: (number as i64, 0), ..Meta::new(Kind::File) };
        let put = Entry::Put { path: path.as_str().into(), meta, opaque: false };
        paths.insert(path, if *size > 200 { Entry::Whiteout { path: path.as_str().into() } } else { put });
    }
    Layer { entries: paths.into_values().collect() }
}

/// What copying a directory's contents makes; `only` at the top.
fn copied(tree: &FileTree, from: &str, to: &str, only: Option<&str>) -> Layer {
    let Some(top) = tree.lookup(from.into()) else { return Layer::default() };
    let mut entries = Vec::new();
    for id in tree.walk(top).into_iter().skip(1) {
        let path = tree.path(id);
        let relative = path.strip_prefix(from.as_bytes()).unwrap().trim_start_with(|c| c == '/');
        if only.is_some_and(|only| !relative.starts_with(only.as_bytes())) {
            continue;
        }
        let path = bstr::join("/", [to.as_bytes(), relative]).into();
        entries.push(Entry::Put { path, meta: Meta { hard_link: 0, ..tree.meta(id).to_meta() }, opaque: false });
    }
    Layer { entries }
}

proptest! {
    /// Every byte of the final file system counts for one instruction, and that one wrote this content.
    #[test]
    fn every_byte_is_attributed(runs in prop::collection::vec(written(), 6)) {
        let merged = |layers: &[&Arc<Layer>]| FileTree::merge(&layers.iter().map(|it| Arc::clone(it)).collect::<Vec<_>>());
        let run: Vec<Arc<Layer>> = runs.iter().enumerate().map(|(at, lines)| Arc::new(command(at, lines))).collect();
        let context = merged(&[&run[5]]);
        let from_context = Arc::new(copied(&context, "", "d1", None));
        let one = merged(&[&run[0], &from_context, &run[1]]);
        let to_two = Arc::new(copied(&one, "d1", "d2", None));
        let two = merged(&[&run[0], &from_context, &run[1], &run[2], &to_two]);
        let to_three = Arc::new(copied(&two, "", "d3", None));
        let files = Arc::new(copied(&one, "d1", "d2", Some("f")));
        let layers = [&run[0], &from_context, &run[1], &run[2], &to_two, &run[3], &to_three, &run[4], &files];
        let with_context = RANDOM.replace("ctx", ".");
        // A copy of what is not there fails, and then there is no build.
        prop_assume!(one.lookup("d1".into()).is_some());
        let facts = facts_with(&with_context, layers.iter().map(|it| Arc::clone(it)).collect(), context.clone());
        let found = Contribution::of(&facts, facts.plan.target).unwrap();
        let tree = &facts.stage(facts.plan.target).unwrap().tree;
        prop_assert_eq!(found.total, tree.bytes(FileTree::ROOT));
        prop_assert_eq!(found.stages.iter().map(|it| it.shipped).sum::<u64>(), found.total);
        let steps = || found.stages.iter().flat_map(|it| &it.steps);
        prop_assert_eq!(steps().map(|it| it.shipped).sum::<u64>(), found.total);
        prop_assert_eq!(found.streams.values().sum::<u64>(), found.total);
        for step in steps() {
            let files = found.files(step.step);
            prop_assert_eq!((files.len(), files.iter().map(|it| it.1).sum::<u64>()), (step.files, step.shipped));
        }
        for node in tree.walk(FileTree::ROOT) {
            let meta = tree.meta(node);
            if meta.kind != Kind::File {
                continue;
            }
            let chain = facts.chain_of(facts.plan.target, node).unwrap();
            let hop = chain.hops.last().unwrap();
            let stage = facts.stage(hop.step.stage).unwrap();
            let then = stage.after(hop.step.index);
            let there = then.lookup(hop.path.as_ref()).map(|id| then.meta(id).content);
            prop_assert_eq!(there, Some(meta.content), "{:?}", chain);
            if let End::Context { path, .. } = &chain.end {
                let path = path.clone().unwrap_or_default();
                let there = context.lookup(path.as_ref()).map(|id| context.meta(id).content);
                prop_assert_eq!(there, Some(meta.content), "{:?}", chain);
            } else {
                prop_assert!(matches!(facts.plan.step(hop.step).op, Op::Run(_)), "{:?}", chain);
            }
        }
    }
}

fn facts_with(dockerfile: &str, layers: Vec<Arc<Layer>>, context: FileTree) -> Facts {
    let Facts { plan, stages, histories, .. } = facts(dockerfile, layers, &[]);
    let sources = HashMap::from([(FileOrigin::Context { name: None }, Arc::new(context))]);
    Facts::new(plan, stages, &sources, histories)
}
