//! ARG and ENV: scopes, precedence, predefined names, and what a process sees.

use super::super::{Options, Origin, Variable};
use super::{environment, history, last, options, planned, with_args};

/// Checks the environment at the target's end, without the default PATH.
#[track_caller]
fn check_with(options: &Options, dockerfile: &str, expected: &[&str]) {
    let plan = planned(dockerfile, options).unwrap_or_else(|errors| panic!("{dockerfile}: {errors:?}"));
    assert_eq!(environment(&plan), expected, "\n{dockerfile}");
}

#[track_caller]
fn check(dockerfile: &str, expected: &[&str]) {
    check_with(&options(), dockerfile, expected);
}

#[test]
fn env_words_see_what_was_before_the_line_and_arg_words_each_other() {
    check("FROM a\nENV A=1 B=$A\n", &["A=1", "B="]);
    check("FROM a\nENV A=1\nENV A=2 B=$A\n", &["A=2", "B=1"]);
    check("FROM a\nARG A=1 B=$A\n", &["A=1", "B=1"]);
    check("FROM a\nENV A x $B  y\n", &["A=x   y"]);
}

#[test]
fn quotes_escapes_and_operators() {
    check(
        r#"FROM a
ENV A='$B' C="x y" D=a\ b E=a\$b F="a\"b" "#,
        &["A=$B", "C=x y", "D=a b", "E=a$b", "F=a\"b"],
    );
    check(
        "FROM a\nENV A=aXbXc\nENV B=${A#a} C=${A%%X*} D=${A//X/_} E=${N:-d} F=${A:+s}\n",
        &["A=aXbXc", "B=XbXc", "C=a", "D=a_b_c", "E=d", "F=s"],
    );
    check("# escape=`\nFROM a\nENV A=a`$B C=\\x\n", &["A=a$B", "C=\\x"]);
}

#[test]
fn what_is_set_last_wins() {
    check("FROM a\nARG A=a\nENV A=e\n", &["A=e"]);
    check("FROM a\nENV A=e\nARG A=a\n", &["A=a"]);
    check("FROM a\nENV A=1\nENV B=2\nENV A=3\n", &["B=2", "A=3"]);
    check_with(&with_args(&[("A", "b")]), "FROM a\nENV A=e\nARG A\n", &["A=b"]);
    check("FROM a\nENV A=e\nARG A\n", &["A=e"]);
}

#[test]
fn an_arg_never_reaches_the_image() {
    let plan = planned("FROM a\nENV A=e\nARG A=a B=b\n", &options()).unwrap();
    let config = &last(&plan).state.image.config;
    assert!(config.env.contains(&"A=e".to_owned()) && !config.env.iter().any(|entry| entry.starts_with("B=")));
}

#[test]
fn global_arguments_must_be_declared_again() {
    check("ARG A=g\nFROM a\nENV B=$A\n", &["B="]);
    check("ARG A=g\nFROM a\nARG A\nENV B=$A\n", &["A=g", "B=g"]);
    check("ARG A=g\nFROM a\nARG A=own\n", &["A=own"]);
    check("ARG A=g\nARG B=$A$A\nFROM a\nARG B\n", &["B=gg"]);
    check_with(&with_args(&[("A", "b")]), "ARG A=g\nARG B=$A\nFROM a\nARG B A=own\n", &["B=b", "A=b"]);
    check("ARG A\nFROM a\nARG A\n", &[]);
}

#[test]
fn arguments_go_on_in_a_stage_that_is_built_on_theirs() {
    check("FROM a AS x\nARG A=1\nFROM x\nENV B=$A\n", &["A=1", "B=1"]);
    check("FROM a AS x\nARG A=1\nFROM a\nENV B=$A\n", &["B="]);
    // The configuration is set anew, so that ENV wins again over an ARG that came after it.
    check("FROM a AS x\nENV A=e\nARG A=a\nFROM x\nRUN x\n", &["A=e"]);
}

#[test]
fn platform_arguments_are_there_for_from_and_where_declared() {
    let target = "FROM a\nARG TARGETPLATFORM TARGETARCH TARGETVARIANT BUILDOS TARGETSTAGE\n";
    check(
        target,
        &["TARGETPLATFORM=linux/amd64", "TARGETARCH=amd64", "TARGETVARIANT=", "BUILDOS=linux", "TARGETSTAGE=default"],
    );
    check("FROM a AS last\nENV A=$TARGETARCH\nARG TARGETSTAGE\n", &["A=", "TARGETSTAGE=last"]);
    check("FROM a AS x\nARG TARGETARCH=mine\n", &["TARGETARCH=mine"]);
    let arm = Options { platform: Some("linux/arm".to_owned()), ..options() };
    check_with(
        &arm,
        "FROM a\nARG TARGETPLATFORM BUILDPLATFORM TARGETVARIANT\n",
        &["TARGETPLATFORM=linux/arm/v7", "BUILDPLATFORM=linux/amd64", "TARGETVARIANT=v7"],
    );
    check_with(&with_args(&[("TARGETARCH", "odd")]), "FROM a\nARG TARGETARCH\n", &["TARGETARCH=odd"]);
}

#[test]
fn proxies_need_no_declaration_and_leave_no_trace() {
    let proxy = with_args(&[("HTTP_PROXY", "p")]);
    check_with(&proxy, "FROM a\nENV B=$HTTP_PROXY\n", &["B=", "HTTP_PROXY=p", "http_proxy=p"]);
    let plan = planned("FROM a\nRUN x\n", &proxy).unwrap();
    assert_eq!(history(&plan), ["RUN /bin/sh -c x # buildkit"]);
    let plan = planned("FROM a\nARG HTTP_PROXY\nRUN x\n", &proxy).unwrap();
    assert_eq!(history(&plan), ["ARG HTTP_PROXY=p", "RUN |1 HTTP_PROXY=p /bin/sh -c x # buildkit"]);
    assert!(planned("FROM a\n", &proxy).unwrap().diagnostics.is_empty());
}

#[test]
fn every_value_knows_where_it_is_from() {
    let text = "ARG G=g\nFROM full\nENV A=1\nARG B=2 C D G\nARG TARGETOS\nENV TWO=own\n";
    let plan = planned(text, &with_args(&[("C", "c")])).unwrap();
    let state = &last(&plan).state;
    let shown = |list: &[Variable]| -> Vec<String> {
        list.iter().map(|it| format!("{}={:?} {:?}", it.name, it.value.as_deref().unwrap_or("-"), it.origin)).collect()
    };
    assert_eq!(Origin::Line(3), state.env[3].origin);
    assert_eq!(shown(&state.env[..2]), ["BASE=\"b\" Base", "TWO=\"own\" Line(6)"]);
    assert_eq!(
        shown(&state.args),
        [
            "B=\"2\" Line(4)",
            "C=\"c\" BuildArg(4)",
            "D=\"-\" Line(4)",
            "G=\"g\" Line(1)",
            "TARGETOS=\"linux\" Predefined",
        ]
    );
}

#[test]
fn history_has_arguments_in_the_order_of_their_declaration() {
    let plan = planned("FROM a\nARG A B=2\nENV B=3\nARG A=1\nRUN x\n", &options()).unwrap();
    assert_eq!(history(&plan), ["ARG A B=2", "ENV B=3", "ARG A=1", "RUN |2 A=1 B=3 /bin/sh -c x # buildkit"]);
}

#[test]
fn arguments_that_nothing_declares_are_pointed_out() {
    let plan =
        planned("ARG A\nFROM a\nARG B\n", &with_args(&[("A", ""), ("B", ""), ("C", ""), ("NO_PROXY", "")])).unwrap();
    let messages: Vec<&str> = plan.diagnostics.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages, ["--build-arg C is declared by no ARG"]);
}
