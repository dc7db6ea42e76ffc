use super::*;
use proptest::prelude::*;

fn no_library(_: &str) -> Option<&'static str> {
    None
}

fn run(text: &str, defines: &[(&str, u32)]) -> Result<String, SourceError> {
    expand("test", text, defines, &no_library).map(|out| out.text)
}

/// Returns the lines after the constants.
fn body(text: &str, defines: &[(&str, u32)]) -> Vec<String> {
    run(text, defines)
        .unwrap()
        .lines()
        .skip(defines.len())
        .map(str::to_owned)
        .collect()
}

fn both(text: &str) -> [Result<(), SourceError>; 2] {
    [
        run(text, &[("N", 4)]).map(drop),
        check("test", text, &no_library).map(drop),
    ]
}

#[test]
fn directives() {
    let text = "fn f() {\n#unroll i 0 N\n  let a_{i} = {i}u;\n#ifdef B\n  \
                b_{i}();\n#endif\n#end\n}\nenable f16;\n";
    let wgsl = run(text, &[("N", 2), ("B", 1)]).unwrap();
    assert!(
        wgsl.starts_with("enable f16;\nconst N: u32 = 2u;\n"),
        "{wgsl}"
    );
    assert!(
        wgsl.contains("let a_0 = 0u;\n  b_0();\n  let a_1 = 1u;\n  b_1();"),
        "{wgsl}"
    );
    assert!(!run(text, &[("N", 2)]).unwrap().contains("b_0"));
}

#[test]
fn the_first_way_that_holds_is_taken() {
    let text = "#ifdef A\na\n#elif B\nb\n#elif C\nc\n#else\nnone\n#endif\n";
    for (defines, line) in [
        (vec!["A", "B"], "a"),
        (vec!["B", "C"], "b"),
        (vec!["C"], "c"),
        (vec![], "none"),
    ] {
        let defines: Vec<(&str, u32)> = defines.into_iter().map(|name| (name, 1)).collect();
        assert_eq!(body(text, &defines), [line]);
    }
}

#[test]
fn nested_loops_see_outer_variables() {
    assert_eq!(
        body("#unroll i 0 2\n#unroll j i 2\nx_{i}_{j}\n#end\n#end\n", &[]),
        ["x_0_0", "x_0_1", "x_1_1"]
    );
}

#[test]
fn expressions_have_values_outside_of_loops_too() {
    let text =
        "mat{N}x{N/2} if a { b } else {} //{note}\n#unroll q 0 N/4\nacc_{4*q+1}_{(q+3)%N}\n#end\n";
    let lines = body(text, &[("N", 8)]);
    assert_eq!(
        lines,
        ["mat8x4 if a { b } else {} //{note}", "acc_1_3", "acc_5_4"]
    );
}

#[test]
fn words_take_their_places_everywhere() {
    let text = "#for (op, OP, SPAN) in (lhs, LHS, ROWS) (rhs, RHS, COLS)\n#ifdef \
                {OP}_VEC\n{op}_vec\n#endif\n#unroll i 0 \
                {SPAN}/2\n{op}_{i}_{SPAN}_{2*SPAN}\n#end\n#end\n#for x in a b\n{x}\n#end\n";
    let lines = body(text, &[("COLS", 4), ("RHS_VEC", 1), ("ROWS", 2)]);
    assert_eq!(
        lines,
        [
            "lhs_0_ROWS_4",
            "rhs_vec",
            "rhs_0_COLS_8",
            "rhs_1_COLS_8",
            "a",
            "b"
        ]
    );
    let asked: Vec<String> = check("test", text, &no_library)
        .unwrap()
        .defines
        .into_iter()
        .collect();
    assert_eq!(asked, ["COLS", "LHS_VEC", "RHS_VEC", "ROWS"]);
}

#[test]
fn mistakes_are_errors_with_their_line() {
    for (text, line, what) in [
        ("a\n#unroll i 0 4\n", 2, "without `#end`"),
        ("#end\n", 1, "without `#unroll`"),
        ("\n\n#ifdef A\n", 3, "without `#endif`"),
        ("#endif\n", 1, "without `#ifdef`"),
        ("#else\n", 1, "without `#ifdef`"),
        ("#ifdef A\n#else\n#elif B\n#endif\n", 3, "after `#else`"),
        ("#ifdef A\n#else\n#else\n#endif\n", 3, "after `#else`"),
        ("#unroll i 0 4\n#endif\n#end\n", 2, "without `#ifdef`"),
        ("#ifdef A\n#end\n#endif\n", 2, "without `#unroll`"),
        ("#import no/where\n", 1, "no shaders/no/where.wgsl"),
        ("#unroll i 0 q\n#end\n", 1, "`q` is neither"),
        ("#unroll i 0 4 + 1\n#end\n", 1, "expected `#unroll"),
        ("#for (a, b) in (x) (y)\n#end\n", 1, "expected `#for"),
        (
            "fn f() {\n#unrol i 0 4\n#end\n}\n",
            2,
            "no directive is called `#unrol`; there are",
        ),
        (
            "#unroll v 0 4\nx_{v}\ny_{w}\n#end\n",
            3,
            "`{w}`: `w` is neither",
        ),
        ("let x = {N+};\n", 1, "no expression"),
        ("#requires tile\n", 1, "requires `tile`"),
        ("let b = 1;\n#provides a\n", 2, "provides `a`"),
    ] {
        for error in both(text).map(Result::unwrap_err) {
            assert!(
                error.file == "test" && error.line == line && error.what.contains(what),
                "{text:?}: {error}"
            );
        }
    }
}

#[test]
fn branches_that_a_variant_does_not_take_are_checked() {
    let mistakes = [
        ("#ifdef A\nx_{v}\n#endif\n", "B", 2),
        (
            "#ifdef B\n#else\n#ifndef A\n#import nowhere\n#endif\n#endif\n",
            "B",
            4,
        ),
    ];
    for (text, define, line) in mistakes {
        assert!(run(text, &[(define, 1)]).is_ok());
        assert_eq!(check("test", text, &no_library).unwrap_err().line, line);
    }
    // Out of range for some defines, and not for others.
    assert!(
        check(
            "test",
            "#unroll i 0 4\nx_{N-8*i}_{N/(M-1)}\n#end\n",
            &no_library
        )
        .is_ok()
    );
    assert!(check("test", "#unroll i 0 4\nx_{N-8*i+j}\n#end\n", &no_library).is_err());
    assert!(
        run("x_{N-8}\n", &[("N", 4)])
            .unwrap_err()
            .what
            .contains("below 0")
    );
    assert!(
        run("#unroll i 0 N\n#end\n", &[("N", 9999)])
            .unwrap_err()
            .what
            .contains("at most")
    );
}

const FILES: &[(&str, &str)] = &[
    (
        "core",
        "#requires begin lane\n#provides run acc_{v}_{c}\n#import part\nfn run() {}\n",
    ),
    ("part", "#unroll v 0 2\nvar acc_{v}_{v+1} = 0;\n#end\n"),
    ("loop", "#import back\n"),
    ("back", "\n#import loop\n"),
    ("broken", "fine\n#ifdef A\n{nothing}\n#endif\n"),
];

fn library(name: &str) -> Option<&'static str> {
    FILES
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, text)| *text)
}

#[test]
fn contracts_are_kept_by_name() {
    let good = "fn begin(x: u32) {}\nfn main(@builtin(local_invocation_index) lane: u32) \
                {\n#import core\n}\n";
    expand("kernel", good, &[], &library).unwrap();
    check("kernel", good, &library).unwrap();
    for (text, name) in [
        (good.replace("fn begin", "fn began"), "begin"),
        (good.replace("lane:", "line:"), "lane"),
    ] {
        let errors = [
            expand("kernel", &text, &[], &library).map(drop),
            check("kernel", &text, &library).map(drop),
        ];
        for error in errors.map(Result::unwrap_err) {
            let want = format!(
                "requires `{name}`, which shaders/kernel.wgsl must declare before it imports this"
            );
            assert_eq!(
                (error.file.as_str(), error.line, error.what.as_str()),
                ("core", 1, want.as_str())
            );
            assert!(
                error
                    .to_string()
                    .ends_with("imported by shaders/kernel.wgsl:3"),
                "{error}"
            );
        }
    }
    let named = "#for x in a b\n#import load\n#end\n#requires load_a load_b\n";
    for (text, good) in [
        ("#provides load_{x}\nfn load_{x}() {}\n", true),
        ("#provides load_{x}\n", false),
    ] {
        let files = |name: &str| (name == "load").then_some(text);
        assert_eq!(expand("kernel", named, &[], &files).is_ok(), good);
        assert_eq!(check("kernel", named, &files).is_ok(), good);
    }
    // Whoever provides it before does not provide it here.
    let text = "fn tile() {}\n#import other\n";
    let files = |name: &str| (name == "other").then_some("#provides tile\n");
    assert!(
        expand("kernel", text, &[], &files)
            .unwrap_err()
            .what
            .contains("provides `tile`")
    );
    assert!(
        check("kernel", text, &files)
            .unwrap_err()
            .what
            .contains("provides `tile`")
    );
}

#[test]
fn errors_name_the_imports_that_lead_to_them() {
    let error = expand("kernel", "a\n#import broken\n", &[("A", 1)], &library).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("shaders/broken.wgsl:3: `{nothing}`"),
        "{error}"
    );
    assert_eq!(error.imported_by, [("kernel".to_owned(), 2)]);
    for error in [
        expand("k", "#import loop\n", &[], &library).map(drop),
        check("k", "#import loop\n", &library).map(drop),
    ] {
        let error = error.unwrap_err();
        assert!(
            error.what.contains("`#import loop` imports itself"),
            "{error}"
        );
        assert_eq!(
            (error.file.as_str(), error.line, error.imported_by.len()),
            ("back", 2, 2)
        );
    }
}

#[test]
fn lines_of_the_result_know_where_they_came_from() {
    let out = expand(
        "kernel",
        "enable f16;\nfirst\n#import part\n\nlast\n",
        &[("N", 1)],
        &library,
    )
    .unwrap();
    let of = |text: &str| {
        out.text
            .lines()
            .position(|line| line.starts_with(text))
            .and_then(|at| out.origin(at + 1))
    };
    assert_eq!(of("first"), Some(("kernel", 2)));
    assert_eq!(of("var acc_1"), Some(("part", 2)));
    assert_eq!(of("last"), Some(("kernel", 5)));
    assert_eq!(
        (of("enable"), of("const"), out.origin(0), out.origin(99)),
        (None, None, None, None)
    );
}

/// A text as a tree, to be written with and without `#elif`, and to be read by a model.
#[derive(Clone, Debug)]
enum Tree {
    Line(u32),
    /// The value of the `n`th loop around it, from the innermost on.
    Value(usize),
    /// Ways by define, and the last.
    Choice(Vec<(usize, Vec<Tree>)>, Option<Vec<Tree>>),
    Loop(u32, u32, Vec<Tree>),
}

const DEFINES: [&str; 4] = ["A", "B", "C", "D"];

fn tree() -> impl Strategy<Value = Vec<Tree>> {
    let leaf = prop_oneof![
        any::<u32>().prop_map(Tree::Line),
        (0usize..3).prop_map(Tree::Value)
    ];
    let node = leaf.prop_recursive(4, 40, 4, |inner| {
        let some = prop::collection::vec(inner, 0..4);
        let ways = prop::collection::vec((0..DEFINES.len(), some.clone()), 1..4);
        prop_oneof![
            (ways, prop::option::of(some.clone()))
                .prop_map(|(ways, last)| Tree::Choice(ways, last)),
            (0u32..3, 0u32..4, some).prop_map(|(from, to, body)| Tree::Loop(from, to, body)),
        ]
    });
    prop::collection::vec(node, 0..6)
}

/// Writes a tree; `chain` uses `#elif`, and otherwise ways nest in `#else`.
fn write(trees: &[Tree], chain: bool, depth: usize, out: &mut Vec<String>) {
    for tree in trees {
        match tree {
            Tree::Line(n) => out.push(format!("line {n} {{ }}")),
            Tree::Value(n) if *n < depth => out.push(format!("value {{2*v{}+1}};", depth - 1 - n)),
            Tree::Value(_) => out.push("no value".into()),
            Tree::Loop(from, to, body) => {
                out.push(format!("  #unroll v{depth} {from} {to}"));
                write(body, chain, depth + 1, out);
                out.push("#end".into());
            }
            Tree::Choice(ways, last) => {
                for (i, (define, body)) in ways.iter().enumerate() {
                    match (i, chain) {
                        (0, _) => {}
                        (_, true) => out.push(format!("#elif {}", DEFINES[*define])),
                        (_, false) => out.push("#else".into()),
                    }
                    if i == 0 || !chain {
                        out.push(format!("#ifdef {}", DEFINES[*define]));
                    }
                    write(body, chain, depth, out);
                }
                if let Some(body) = last {
                    out.push("#else".into());
                    write(body, chain, depth, out);
                }
                let closed = if chain { 1 } else { ways.len() };
                out.extend((0..closed).map(|_| "#endif".into()));
            }
        }
    }
}

fn model(trees: &[Tree], on: &[bool], around: &mut Vec<u32>, out: &mut Vec<String>) {
    for tree in trees {
        match tree {
            Tree::Line(n) => out.push(format!("line {n} {{ }}")),
            Tree::Value(n) => match around.iter().rev().nth(*n) {
                Some(value) => out.push(format!("value {};", 2 * value + 1)),
                None => out.push("no value".into()),
            },
            Tree::Loop(from, to, body) => {
                for value in *from..*to {
                    around.push(value);
                    model(body, on, around, out);
                    around.pop();
                }
            }
            Tree::Choice(ways, last) => match ways.iter().find(|(define, _)| on[*define]) {
                Some((_, body)) => model(body, on, around, out),
                None => model(last.as_deref().unwrap_or_default(), on, around, out),
            },
        }
    }
}

proptest! {
    #[test]
    fn nesting_and_chains_mean_what_they_say(
        trees in tree(),
        on in prop::array::uniform4(any::<bool>()),
    ) {
        let defines: Vec<(&str, u32)> = DEFINES
            .into_iter()
            .zip(on)
            .filter(|(_, on)| *on)
            .map(|(name, _)| (name, 1))
            .collect();
        let mut want = Vec::new();
        model(&trees, &on, &mut Vec::new(), &mut want);
        for chain in [true, false] {
            let mut lines = Vec::new();
            write(&trees, chain, 0, &mut lines);
            let text = lines.join("\n");
            prop_assert_eq!(&body(&text, &defines), &want, "{}", text);
            prop_assert!(check("test", &text, &no_library).is_ok(), "{}", text);
        }
    }

    #[test]
    fn a_mistake_anywhere_is_told_with_its_line(
        trees in tree(),
        at in any::<prop::sample::Index>(),
        kind in 0usize..3,
    ) {
        let mut lines = Vec::new();
        write(&trees, true, 0, &mut lines);
        let at = at.index(lines.len() + 1);
        lines.insert(at, ["#elsif X", "#import nowhere", "x_{unknown}"][kind].into());
        // Whatever branch it stands in, and whatever was taken.
        let error = check("test", &lines.join("\n"), &no_library).unwrap_err();
        prop_assert_eq!(error.line, at + 1, "{}\n{}", error, lines.join("\n"));
        // A variant either does not come by, or names the same line.
        if let Err(error) = run(&lines.join("\n"), &[("A", 1)]) {
            prop_assert_eq!(error.line, at + 1, "{}", error);
        }
    }

    #[test]
    fn a_directive_taken_away_is_missed(trees in tree(), at in any::<prop::sample::Index>()) {
        let mut lines = Vec::new();
        write(&trees, true, 0, &mut lines);
        let closing: Vec<usize> = (0..lines.len())
            .filter(|i| matches!(lines[*i].as_str(), "#end" | "#endif"))
            .collect();
        prop_assume!(!closing.is_empty());
        lines.remove(closing[at.index(closing.len())]);
        let text = lines.join("\n");
        prop_assert!(run(&text, &[]).is_err() && check("test", &text, &no_library).is_err());
    }

    #[test]
    fn no_text_panics(text in concat!(
        "([#{}a-zA-Z0-9_+*/%() \n-]|",
        "#(ifdef|unroll|for|elif|else|endif|end|import|requires) ){0,60}",
    )) {
        let _ = run(&text, &[("A", 1)]);
        let _ = check("test", &text, &no_library);
    }
}
