//! The reference of the command line, `docs/cli.md`: a section for each command.

use super::with_subcommands;
use clap::{Arg, ArgAction, Command};

/// The text that holds for every command, and is not clap's to say.
const INTRODUCTION: &str = include_str!("introduction.txt");

/// The page: an introduction, the commands in a table, the options that all have, and a section
/// for each command.
pub fn page(cli: &Command) -> String {
    let commands = with_subcommands(cli);
    let commands = || commands[1..].iter().filter(|c| super::runs(c));
    let mut page = format!("{}\n## Commands\n\n", INTRODUCTION);
    page += "| command | what it does |\n| --- | --- |\n";
    for command in commands() {
        let name = name(command);
        let anchor = name.replace(' ', "-");
        page += &format!("| [`{name}`](#{anchor}) | {} |\n", about(command));
    }
    page += "\n## Options of every command\n\n";
    for option in cli.get_arguments().filter(|a| a.is_global_set()) {
        page += &argument(option);
    }
    for command in commands() {
        page += &section(command);
    }
    page
}

/// The whole name of a command, as it is typed.
fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or(command.get_name())
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map(|t| text(&t.to_string()))
        .unwrap_or_default()
}

fn section(command: &Command) -> String {
    let mut section = format!("\n## {}\n\n", name(command));
    let said = command.get_long_about().or(command.get_about());
    section += &format!(
        "{}\n",
        sentences(&said.map(|t| t.to_string()).unwrap_or_default(), "")
    );
    let after = command.get_after_long_help().map(|t| t.to_string());
    let after = after.unwrap_or_default();
    let (prose, examples) = match after.split_once("Examples:\n") {
        Some((prose, examples)) => (prose.trim(), examples),
        None => (after.trim(), ""),
    };
    if !prose.is_empty() {
        section += &format!("{}\n", sentences(prose, ""));
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    section += &format!("\n{}\n", indented(&usage));
    let own: Vec<&Arg> = own_arguments(command).collect();
    if !own.is_empty() {
        section += "\n";
    }
    for one in own {
        section += &argument(one);
    }
    if !examples.is_empty() {
        section += "\nExamples:\n\n";
        for line in examples.lines() {
            section += &format!("    {}\n", line.strip_prefix("  ").unwrap_or(line));
        }
    }
    section
}

/// Lines as a block of code.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("    {}", line.trim()));
    lines.collect::<Vec<_>>().join("\n")
}

/// The arguments that a command does not share with all others; those that have a place first.
fn own_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let shown = |a: &&Arg| {
        let of_clap = matches!(a.get_id().as_str(), "help" | "version");
        !a.is_global_set() && !a.is_hide_set() && !of_clap
    };
    let options = command.get_opts().chain(
        command
            .get_arguments()
            .filter(|a| !a.is_positional() && !a.get_action().takes_values()),
    );
    command.get_positionals().chain(options).filter(shown)
}

/// An item of a list: how an argument is written, what it means, its values and its default.
fn argument(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help());
    let help = sentences(&help.map(|t| t.to_string()).unwrap_or_default(), "  ");
    let mut item = format!("- `{}`: {help}", written(arg));
    let takes_values = arg.get_action().takes_values();
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy().into_owned())
        .collect();
    if takes_values && !defaults.is_empty() {
        item += &format!("\n  The default is `{}`.", defaults.join(","));
    }
    if let Some(variable) = arg.get_env() {
        item += &format!(
            "\n  The variable `{}` sets it too.",
            variable.to_string_lossy()
        );
    }
    item += "\n";
    if takes_values && !arg.is_hide_possible_values_set() {
        for value in arg
            .get_possible_values()
            .iter()
            .filter(|v| !v.is_hide_set())
        {
            let help = value.get_help().map(|h| text(&h.to_string()));
            item += &match help {
                Some(help) => format!("  - `{}`: {help}\n", value.get_name()),
                None => format!("  - `{}`\n", value.get_name()),
            };
        }
    }
    item
}

/// An argument as it is typed: `-k, --codes <K>`, `[CONFIG]`, `<IMAGES>...`.
fn written(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let name = names.join(" ");
    if arg.is_positional() {
        let many = matches!(arg.get_action(), ArgAction::Append);
        let many = if many { "..." } else { "" };
        let (open, close) = if arg.is_required_set() {
            ('<', '>')
        } else {
            ('[', ']')
        };
        return format!("{open}{name}{close}{many}");
    }
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|l| format!("--{l}"));
    let flags = [short, long].into_iter().flatten().collect::<Vec<_>>();
    let flags = flags.join(", ");
    if arg.is_require_equals_set() {
        // Such a value may be left out.
        format!("{flags}[=<{name}>]")
    } else if arg.get_action().takes_values() {
        format!("{flags} <{name}>")
    } else {
        flags
    }
}

/// A help text as a sentence of Markdown: clap's have no stop at their end.
fn sentence(help: &str) -> String {
    let text = text(help);
    if text.is_empty() || text.ends_with(['.', '?', '!']) {
        text
    } else {
        text + "."
    }
}

/// A help text with a sentence on each line, those after the first behind `indent`.
fn sentences(help: &str, indent: &str) -> String {
    let text = sentence(help);
    let mut parts = text.split(". ").peekable();
    let mut lines = String::new();
    while let Some(part) = parts.next() {
        lines += part;
        if let Some(next) = parts.peek() {
            let ends = next.starts_with(|c: char| c.is_uppercase() || c == '`');
            lines += &if ends {
                format!(".\n{indent}")
            } else {
                ". ".to_owned()
            };
        }
    }
    lines
}

/// A text on one line, with what Markdown would take for markup escaped, but within code.
fn text(help: &str) -> String {
    let line = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let escaped = line.split('`').enumerate().map(|(i, part)| match i % 2 {
        0 => escape(part),
        _ => part.to_owned(),
    });
    escaped.collect::<Vec<_>>().join("`")
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if "\\*_<[|".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
