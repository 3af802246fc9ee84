//! What instructions do to the image's configuration.

use super::super::Options;
use super::{PATH, history, last, options, planned};

/// Checks the configuration at the target's end as JSON, without the default PATH and what is empty.
#[track_caller]
fn check(dockerfile: &str, expected: &str) {
    assert_eq!(config(dockerfile, &options()), expected, "\n{dockerfile}");
}

#[track_caller]
fn config(dockerfile: &str, options: &Options) -> String {
    let plan = planned(dockerfile, options).unwrap_or_else(|errors| panic!("{dockerfile}: {errors:?}"));
    let mut config = last(&plan).state.image.config.clone();
    config.env.retain(|entry| entry != PATH);
    let mut value = serde_json::to_value(&config).unwrap();
    let empty = |value: &serde_json::Value| value == "" || *value == serde_json::json!([]);
    value.as_object_mut().unwrap().retain(|_, value| !empty(value));
    value.to_string()
}

/// Checks what history has of the target's own steps.
#[track_caller]
fn check_history(instructions: &str, expected: &[&str]) {
    let plan = planned(&format!("FROM a\n{instructions}"), &options()).unwrap();
    assert_eq!(history(&plan), expected);
}

#[test]
fn scratch_has_a_directory_and_a_path() {
    check("FROM scratch\n", r#"{"WorkingDir":"/"}"#);
    let plan = planned("FROM scratch\n", &options()).unwrap();
    let state = &last(&plan).state;
    assert_eq!(state.image.config.env, [PATH]);
    assert_eq!((state.image.os.as_str(), state.image.architecture.as_str()), ("linux", "amd64"));
    assert_eq!(state.shell, ["/bin/sh", "-c"]);
}

#[test]
fn a_base_keeps_what_it_has() {
    check(
        "FROM full\n",
        r#"{"Cmd":["sh"],"Entrypoint":["e"],"Env":["BASE=b","TWO=x y"],"User":"app","WorkingDir":"/w"}"#,
    );
}

#[test]
fn entrypoint_clears_a_command_that_is_inherited() {
    check("FROM a\nENTRYPOINT [\"e\"]\n", r#"{"Entrypoint":["e"]}"#);
    check("FROM a\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n", r#"{"ArgsEscaped":true,"Cmd":["c"],"Entrypoint":["e"]}"#);
    check(
        "FROM a AS x\nCMD [\"c\"]\nFROM x\nENTRYPOINT e\n",
        r#"{"ArgsEscaped":true,"Entrypoint":["/bin/sh","-c","e"]}"#,
    );
    check("FROM full\nENTRYPOINT []\n", r#"{"Env":["BASE=b","TWO=x y"],"User":"app","WorkingDir":"/w"}"#);
}

#[test]
fn shell_forms_take_the_shell_in_force() {
    let text = "FROM scratch\nCMD a $B\nSHELL [\"/bin/bash\",\"-ec\"]\nENTRYPOINT c\n";
    check(
        text,
        r#"{"ArgsEscaped":true,"Cmd":["/bin/sh","-c","a $B"],"Entrypoint":["/bin/bash","-ec","c"],"Shell":["/bin/bash","-ec"],"WorkingDir":"/"}"#,
    );
    check("FROM scratch\nCMD\n", r#"{"ArgsEscaped":true,"Cmd":["/bin/sh","-c",""],"WorkingDir":"/"}"#);
}

#[test]
fn directories_are_relative_to_the_one_before() {
    check(
        "FROM full\nWORKDIR a\nWORKDIR ../b/./c\n",
        r#"{"Cmd":["sh"],"Entrypoint":["e"],"Env":["BASE=b","TWO=x y"],"User":"app","WorkingDir":"/w/b/c"}"#,
    );
    check("FROM scratch\nENV A=x\nWORKDIR /$A/\n", r#"{"Env":["A=x"],"WorkingDir":"/x/"}"#);
    check("FROM scratch\nWORKDIR $NONE\n", r#"{"WorkingDir":"/"}"#);
}

#[test]
fn sets_grow() {
    check(
        "FROM scratch\nENV A=80 B=\"1 2\"\nEXPOSE $A 53/UDP 8-9\nEXPOSE $B\n",
        r#"{"Env":["A=80","B=1 2"],"ExposedPorts":{"1/tcp":{},"2/tcp":{},"53/udp":{},"8/tcp":{},"80/tcp":{},"9/tcp":{}},"WorkingDir":"/"}"#,
    );
    check(
        "FROM scratch\nENV A=/a\nVOLUME $A /b\nVOLUME [\"/c d\"]\n",
        r#"{"Env":["A=/a"],"Volumes":{"/a":{},"/b":{},"/c d":{}},"WorkingDir":"/"}"#,
    );
    check(
        "FROM scratch\nENV A=x\nLABEL a=1 \"b $A\"='$A'\nLABEL a 2 3\n",
        r#"{"Env":["A=x"],"Labels":{"a":"2 3","b x":"$A"},"WorkingDir":"/"}"#,
    );
}

#[test]
fn the_rest() {
    check(
        "FROM scratch\nENV U=me\nUSER $U:1\nSTOPSIGNAL SIG${X:-KILL}\nMAINTAINER A $U\n",
        r#"{"Env":["U=me"],"StopSignal":"SIGKILL","User":"me:1","WorkingDir":"/"}"#,
    );
    check(
        "FROM scratch\nHEALTHCHECK --interval=1m --retries=3 CMD a $B\n",
        r#"{"Healthcheck":{"Interval":60000000000,"Retries":3,"Test":["CMD-SHELL","a $B"]},"WorkingDir":"/"}"#,
    );
    check(
        "FROM scratch\nHEALTHCHECK CMD [\"a\"]\nHEALTHCHECK NONE\n",
        r#"{"Healthcheck":{"Test":["NONE"]},"WorkingDir":"/"}"#,
    );
    check("FROM scratch\nONBUILD run x\nONBUILD COPY a b\n", r#"{"OnBuild":["run x","COPY a b"],"WorkingDir":"/"}"#);
    assert_eq!(last(&super::plan("FROM a\nMAINTAINER A $U\n")).state.image.author.as_deref(), Some("A $U"));
}

#[test]
fn labels_of_the_command_line_go_over_the_others() {
    let labels = vec![("a".to_owned(), "2".to_owned()), ("b".to_owned(), "3".to_owned())];
    let options = Options { labels, ..options() };
    let text = "FROM scratch AS x\nLABEL a=1\nFROM x\nENV A=1\n";
    assert_eq!(config(text, &options), r#"{"Env":["A=1"],"Labels":{"a":"2","b":"3"},"WorkingDir":"/"}"#);
    let plan = planned(text, &options).unwrap();
    assert_eq!(plan.stages[0].steps[1].state.image.config.labels.len(), 1);
}

#[test]
fn history_is_written_as_docker_writes_it() {
    check_history("ENV A=1 B='x y'\nENV C d e\n", &["ENV A=1 B=x y", "ENV C=d e"]);
    check_history("LABEL a=1 \"b c\"=d\n", &["LABEL a=1 b c=d"]);
    check_history(
        "CMD [\"a\", \"b\\\"c\\n\"]\nENTRYPOINT a b\n",
        &[r#"CMD ["a" "b\"c\n"]"#, r#"ENTRYPOINT ["/bin/sh" "-c" "a b"]"#],
    );
    check_history(
        "SHELL [\"a\", \"b c\"]\nVOLUME /a /b\nEXPOSE 443 80/udp\n",
        &["SHELL [a b c]", "VOLUME [/a /b]", "EXPOSE [443/tcp 80/udp]"],
    );
    check_history(
        "USER a\nSTOPSIGNAL 9\nMAINTAINER Me\nWORKDIR x\nONBUILD RUN x\n",
        &["USER a", "STOPSIGNAL 9", "MAINTAINER Me", "WORKDIR /x"],
    );
    check_history(
        "HEALTHCHECK --interval=1m5s --timeout=500ms --retries=3 CMD a\n",
        &[r#"HEALTHCHECK &{["CMD-SHELL" "a"] "1m5s" "500ms" "0s" "0s" '\x03'}"#],
    );
}

#[test]
fn a_directory_is_made_unless_it_is_the_root() {
    let layers = |text: &str| super::plan(text).stages[0].steps.iter().map(|step| step.layer).collect::<Vec<_>>();
    assert_eq!(
        layers("FROM a\nWORKDIR /\nWORKDIR a\nENV A=1\nRUN x\nCOPY a b\n"),
        [false, false, true, false, true, true]
    );
}
