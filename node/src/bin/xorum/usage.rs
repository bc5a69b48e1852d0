//! Wrong usage, in one line.

/// What clap says about it, without the usage and the tips that it puts on further lines.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let lines = rendered.lines().map(str::trim);
    let what: Vec<_> = lines
        .take_while(|line| !["Usage:", "tip:", "For more information"].iter().any(|end| line.starts_with(end)))
        .filter(|line| !line.is_empty())
        .collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    match what.strip_prefix("the following required arguments were not provided: ") {
        Some(missing) => format!("missing {missing}"),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::one_line;
    use crate::cli::Cli;

    #[test]
    fn wrong_usage_is_one_line_that_names_the_flag_and_the_text() {
        for (args, line) in [
            (&["put", "k"][..], "missing <VALUE>"),
            (&["--replicas", "4"], "invalid value '4' for '--replicas <3|5|7>': must be 3, 5 or 7"),
            (&["run", "--listn", "x"], "unexpected argument '--listn' found"),
        ] {
            let error = Cli::try_parse_from([&["xorum"], args].concat()).expect_err("wrong usage");
            assert_eq!(one_line(&error), line);
        }
    }
}
