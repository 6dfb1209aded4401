//! Markdown that keeps its shape whatever stands in it: tables, code, escaped texts.

/// A table, its columns padded to the widest cell (`make_markdown_table` of transformers), each line after `indent` spaces.
pub(super) fn table(header: &[String], rows: &[Vec<String>], indent: usize) -> String {
    let count = |text: &String| text.chars().count();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(count);
        cells.chain(header.get(column).map(count)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut line = " ".repeat(indent);
        for (cell, width) in cells.iter().zip(&widths) {
            line += &format!("| {cell}{} ", " ".repeat(width - count(cell)));
        }
        line + "|\n"
    };
    let rule: String = widths.iter().map(|width| format!("|:{}", "-".repeat(width + 1))).collect();
    let mut table = line(header) + &" ".repeat(indent) + &rule + "|\n";
    rows.iter().for_each(|row| table += &line(row));
    table
}

/// A table whose columns are centered, as that of the log is.
pub(super) fn centered(header: &[String], rows: &[Vec<String>]) -> String {
    let left = table(header, rows, 0);
    let mut lines: Vec<String> = left.lines().map(str::to_owned).collect();
    if let Some(rule) = lines.get_mut(1) {
        *rule = rule.replace("-|", ":|");
    }
    lines.join("\n") + "\n"
}

/// A text that means itself in a line of Markdown, and in a cell of a table: what could mean more is an entity of HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = letters.next() {
        let inside = before.is_alphanumeric() && letters.peek().is_some_and(|next| next.is_alphanumeric());
        before = c;
        match c {
            // Within a word it is only itself.
            '_' if inside => out.push('_'),
            '\n' => out.push_str("<br>"),
            '\r' => {}
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '$' => out += &format!("&#{};", c as u32),
            c if c.is_control() || c == '\u{2028}' || c == '\u{2029}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// `<code>` around a text.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// A fenced block; the fence is longer than any that stands inside.
pub(super) fn block(language: &str, text: &str, indent: usize) -> String {
    let mut longest = 0;
    for run in text.split(|c| c != '`') {
        longest = longest.max(run.len());
    }
    let (fence, space) = ("`".repeat(longest.max(2) + 1), " ".repeat(indent));
    let lines: String = text.trim_end().lines().map(|line| format!("{space}{line}\n")).collect();
    format!("{space}{fence}{language}\n{lines}{space}{fence}\n")
}
