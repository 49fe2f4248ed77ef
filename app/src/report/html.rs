//! The markup of a report: a page that is filled part by part, with every text escaped.
//!
//! Place in the data flow: `sections` hands over words and figures, this writes HTML. What comes from a run (names,
//! prompts, answers, paths) reaches the page through [`escaped`] alone, so that no answer of a model becomes markup. The
//! page has no script and loads nothing; its policy says so to the browser as well.

use crate::theme::{Look, Theme};
use egui::Color32;

/// What stands in a table: its heads, how many of the columns hold words (the others hold figures), and its rows.
pub(super) struct Table<'a> {
    pub(super) heads: &'a [&'a str],
    pub(super) words: usize,
    pub(super) rows: Vec<Vec<String>>,
}

/// A page that is being written.
pub(super) struct Page {
    text: String,
}

/// `text` as HTML reads it as text, also inside quotes; characters that no page may have become a mark.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\r' => {}
            '\n' | '\t' => safe.push(letter),
            other if other.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            other => safe.push(other),
        }
    }
    safe
}

fn hex(colour: Color32) -> String {
    let [red, green, blue, _] = colour.to_srgba_unmultiplied();
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Colours of a theme as variables.
fn variables(theme: &Theme) -> String {
    let c = &theme.colours;
    let roles = [
        ("window", c.window),
        ("card", c.card),
        ("line", c.line),
        ("grid", c.grid),
        ("text", c.text),
        ("text2", c.text2),
        ("ok", c.ok),
        ("warn", c.warn),
        ("err", c.err),
    ];
    let mut text = String::new();
    for (name, colour) in roles {
        text.push_str(&format!("--{name}:{};", hex(colour)));
    }
    for (index, colour) in theme.series.iter().enumerate() {
        text.push_str(&format!("--s{index}:{};", hex(*colour)));
    }
    text
}

const LAYOUT: &str = "\
body{margin:0;background:var(--window);color:var(--text);font:14px/1.5 Inter,system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:0 0 8px}h3{font-size:14px;margin:16px 0 4px}
section{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:16px;margin:16px 0}
p{margin:4px 0}.lead{color:var(--text2)}
table{border-collapse:collapse;width:100%;margin:8px 0}
th,td{text-align:left;padding:3px 8px 3px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
thead th{color:var(--text2);font-weight:500}tbody th{font-weight:400;color:var(--text2);width:30%}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.ok{color:var(--ok)}.warn{color:var(--warn)}.err{color:var(--err)}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:12px/1.5 \"JetBrains Mono\",monospace;margin:4px 0}
summary{cursor:pointer}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:16px}
.pair div{border-left:3px solid var(--line);padding-left:8px}
svg{max-width:100%;height:auto}svg text{fill:var(--text2);font-size:11px}
.grid{stroke:var(--grid);stroke-width:1}.level{stroke:var(--warn);stroke-width:1.5;stroke-dasharray:6 4}
.key{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:4px 0}
figure{margin:8px 0}
@media(max-width:640px){.pair{grid-template-columns:1fr}}
@media print{section{break-inside:avoid-page}}
";

impl Page {
    /// Opens a page in the language with the tag `language`.
    pub(super) fn new(language: &str, title: &str) -> Self {
        let (light, dark) = (variables(Theme::of(Look::Light)), variables(Theme::of(Look::Dark)));
        let title = escaped(title);
        let text = format!(
            "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n:root{{color-scheme:light dark;{light}}}\n\
             @media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n{LAYOUT}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n"
        );
        Self { text }
    }

    fn element(&mut self, name: &str, class: &str, words: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        self.text.push_str(&format!("<{name}{class}>{}</{name}>\n", escaped(words)));
    }

    /// Begins a section.
    pub(super) fn section(&mut self, title: &str) {
        self.text.push_str("<section>\n");
        self.element("h2", "", title);
    }

    /// Ends a section.
    pub(super) fn end_section(&mut self) {
        self.text.push_str("</section>\n");
    }

    /// A title inside a section.
    pub(super) fn subtitle(&mut self, title: &str) {
        self.element("h3", "", title);
    }

    /// A sentence; `class` is empty, `lead`, `ok`, `warn` or `err`.
    pub(super) fn paragraph(&mut self, class: &str, words: &str) {
        self.element("p", class, words);
    }

    /// Names with their values.
    pub(super) fn pairs(&mut self, rows: &[(&str, String)]) {
        self.text.push_str("<table><tbody>\n");
        for (name, value) in rows {
            let (name, value) = (escaped(name), escaped(value));
            self.text.push_str(&format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n"));
        }
        self.text.push_str("</tbody></table>\n");
    }

    /// A table; nothing when it has no rows.
    pub(super) fn table(&mut self, table: &Table<'_>) {
        if table.rows.is_empty() {
            return;
        }
        let class = |column: usize| if column < table.words { "" } else { " class=\"n\"" };
        self.text.push_str("<table><thead><tr>");
        for (column, head) in table.heads.iter().enumerate() {
            self.text.push_str(&format!("<th scope=\"col\"{}>{}</th>", class(column), escaped(head)));
        }
        self.text.push_str("</tr></thead><tbody>\n");
        for row in &table.rows {
            self.text.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                self.text.push_str(&format!("<td{}>{}</td>", class(column), escaped(cell)));
            }
            self.text.push_str("</tr>\n");
        }
        self.text.push_str("</tbody></table>\n");
    }

    /// A picture with a sentence under it; `svg` is markup that was made here.
    pub(super) fn figure(&mut self, svg: &str, sentence: &str) {
        self.text.push_str("<figure>\n");
        self.text.push_str(svg);
        self.element("figcaption", "lead", sentence);
        self.text.push_str("</figure>\n");
    }

    /// Two texts side by side, each under its name.
    pub(super) fn side_by_side(&mut self, left: (&str, &str), right: (&str, &str)) {
        self.text.push_str("<div class=\"pair\">\n");
        for (name, words) in [left, right] {
            self.text.push_str("<div>\n");
            self.element("p", "lead", name);
            self.element("pre", "", words);
            self.text.push_str("</div>\n");
        }
        self.text.push_str("</div>\n");
    }

    /// Begins what is shown when a person asks for it.
    pub(super) fn folded(&mut self, title: &str) {
        self.text.push_str("<details>\n");
        self.element("summary", "", title);
    }

    /// Ends it.
    pub(super) fn end_folded(&mut self) {
        self.text.push_str("</details>\n");
    }

    /// A text as it stands in a file.
    pub(super) fn verbatim(&mut self, text: &str) {
        self.element("pre", "", text);
    }

    /// The page as text.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</main>\n</body>\n</html>\n");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_answers_never_becomes_markup() {
        assert_eq!(
            escaped("<script>alert('a & \"b\"')</script>"),
            "&lt;script&gt;alert(&#39;a &amp; &quot;b&quot;&#39;)&lt;/script&gt;"
        );
        assert_eq!(escaped("a\r\nb\tc\u{0}d\u{1b}"), "a\nb\tc\u{fffd}d\u{fffd}");
        let mut page = Page::new("en", "<b>");
        page.section("</h2><i>");
        page.pairs(&[("<u>", "\"><img src=x>".to_owned())]);
        page.table(&Table { heads: &["<s>"], words: 0, rows: vec![vec!["<em>".to_owned()]] });
        page.side_by_side(("<a>", "<p onclick=x>"), ("", "</pre><q>"));
        page.end_section();
        let text = page.finish();
        for markup in ["<b>", "<i>", "<u>", "<img", "<s>", "<em>", "<a>", "<p onclick", "<q>", "<script"] {
            assert!(!text.contains(markup), "{markup} came through");
        }
    }

    #[test]
    fn a_page_has_both_themes_and_loads_nothing() {
        let text = Page::new("de", "x").finish();
        assert!(text.contains("prefers-color-scheme:dark") && text.contains("lang=\"de\""));
        assert!(text.contains("default-src 'none'"));
        for loads in ["http://", "https://", "src=", "href=", "url(", "@import"] {
            assert!(!text.contains(loads), "{loads}");
        }
        for (name, colour) in Theme::of(Look::Light).colours.all() {
            if ["window", "text", "err"].contains(&name) {
                assert!(text.contains(&format!("--{name}:{};", hex(colour))));
            }
        }
    }

    #[test]
    fn an_empty_table_is_not_written() {
        let mut page = Page::new("en", "x");
        page.table(&Table { heads: &["a"], words: 1, rows: Vec::new() });
        assert!(!page.finish().contains("<table>"));
    }
}
