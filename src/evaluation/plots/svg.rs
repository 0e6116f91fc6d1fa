//! The few shapes that the plots are made of.

use std::fmt::Write;

/// Colours of the dark page, by class. The light ones are in the attributes.
const STYLE: &str = "<style>@media (prefers-color-scheme:dark){.paper{fill:#14181d}.ink{fill:#e6e8eb}\
                     .muted{fill:#9aa4af}.grid{stroke:#343b43}.frame{stroke:#59636e}}</style>";

/// What a text or line is for, which decides its colour.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    /// Titles and values.
    Ink,
    /// Labels and ticks.
    Muted,
    /// Text on a dark cell.
    White,
}

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing under construction; lengths are in pixels.
#[derive(Debug)]
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { body: String::new(), width, height }
    }

    pub(super) fn width(&self) -> f64 {
        self.width
    }

    pub(super) fn height(&self) -> f64 {
        self.height
    }

    pub(super) fn text(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, tone: Tone, text: &str) {
        self.turned_text((x, y), 0.0, size, (anchor, tone), text, text);
    }

    /// A text turned by `degrees` around its point; `full` is shown when the pointer rests on it.
    pub(super) fn turned_text(
        &mut self,
        (x, y): (f64, f64),
        degrees: f64,
        size: f64,
        (anchor, tone): (Anchor, Tone),
        text: &str,
        full: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (class, fill) = match tone {
            Tone::Ink => ("ink", "#1f2328"),
            Tone::Muted => ("muted", "#59636e"),
            Tone::White => ("white", "#ffffff"),
        };
        let (x, y, size) = (number(x), number(y), number(size));
        let _ = write!(self.body, r#"<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}""#);
        let _ = write!(self.body, r#" class="{class}" fill="{fill}""#);
        if degrees != 0.0 {
            let _ = write!(self.body, r#" transform="rotate({} {x} {y})""#, number(degrees));
        }
        self.body.push('>');
        if text != full {
            let _ = write!(self.body, "<title>{}</title>", escape(full));
        }
        let _ = writeln!(self.body, "{}</text>", escape(text));
    }

    /// A filled rectangle `[x, y, width, height]`; `title` is shown when the pointer rests on it.
    pub(super) fn rect(&mut self, area: [f64; 4], fill: &str, opacity: f64, title: &str) {
        let [x, y, w, h] = area.map(number);
        let _ = write!(self.body, r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{fill}""#);
        if opacity < 1.0 {
            let _ = write!(self.body, r#" fill-opacity="{}""#, number(opacity));
        }
        let _ = writeln!(self.body, "><title>{}</title></rect>", escape(title));
    }

    /// Cells of one colour in a grid of cells of `size` from `origin`: runs of `[row, first column, columns]`.
    pub(super) fn cells(&mut self, origin: [f64; 2], size: [f64; 2], color: &str, runs: &[[usize; 3]]) {
        let [x, y] = origin.map(number);
        let [sx, sy] = size;
        let _ = write!(
            self.body,
            r#"<path transform="translate({x} {y}) scale({sx:.6} {sy:.6})" shape-rendering="crispEdges" stroke="{color}" d=""#
        );
        for [row, first, columns] in runs {
            let _ = write!(self.body, "M{first} {row}.5h{columns}");
        }
        let _ = writeln!(self.body, r#""/>"#);
    }

    /// The outline of a rectangle `[x, y, width, height]`.
    pub(super) fn frame(&mut self, area: [f64; 4]) {
        let [x, y, w, h] = area.map(number);
        let _ = writeln!(
            self.body,
            r##"<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="none" class="frame" stroke="#9aa4af"/>"##
        );
    }

    /// A thin helping line.
    pub(super) fn grid(&mut self, x1: f64, y1: f64, x2: f64, y2: f64) {
        let (x1, y1, x2, y2) = (number(x1), number(y1), number(x2), number(y2));
        let _ = writeln!(
            self.body,
            r##"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="grid" stroke="#d8dde3"/>"##
        );
    }

    /// A line through points; a single point is a dot.
    pub(super) fn path(&mut self, points: &[(f64, f64)], color: &str, dashed: bool) {
        if let [(x, y)] = points {
            return self.dot(*x, *y, 2.5, color, "");
        }
        let points: Vec<String> =
            points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
        let dash = if dashed { r#" stroke-dasharray="5 4""# } else { "" };
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="1.8"{dash}/>"#,
            points.join(" ")
        );
    }

    pub(super) fn dot(&mut self, x: f64, y: f64, radius: f64, color: &str, title: &str) {
        let (x, y, r) = (number(x), number(y), number(radius));
        let title =
            if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
        let _ = writeln!(self.body, r#"<circle cx="{x}" cy="{y}" r="{r}" fill="{color}">{title}</circle>"#);
    }

    /// Puts a whole drawing into this one.
    pub(super) fn nest(&mut self, x: f64, y: f64, inner: &Self) {
        let (x, y, w, h) = (number(x), number(y), number(inner.width), number(inner.height));
        let _ = writeln!(
            self.body,
            "<svg x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\">\n{}</svg>",
            inner.body
        );
    }

    /// The whole drawing; `title` is what a screen reader says.
    pub(super) fn finish(&self, title: &str) -> String {
        let (w, h, title) = (number(self.width), number(self.height), escape(title));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
             role=\"img\" aria-label=\"{title}\" font-family=\"system-ui,sans-serif\">\n{STYLE}\n\
             <rect width=\"{w}\" height=\"{h}\" class=\"paper\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// A length with at most two decimals.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text that is safe in XML, in an element and in an attribute. Characters that XML forbids become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Columns a text takes, a wide character (Chinese, emoji) counting as two.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(column_width).sum()
}

fn column_width(c: char) -> usize {
    if u32::from(c) >= 0x1100 { 2 } else { 1 }
}

/// `text` with its middle cut out so that `max` columns are left: names often differ only at their end.
pub(super) fn shorten(text: &str, max: usize) -> String {
    if columns(text) <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(1);
    let head = prefix(text.chars(), room - room / 3);
    let tail: Vec<char> = prefix(text.chars().rev(), room / 3);
    head.into_iter().chain(['…']).chain(tail.into_iter().rev()).collect()
}

/// As many leading characters as fit into `max` columns.
fn prefix(chars: impl Iterator<Item = char>, max: usize) -> Vec<char> {
    let mut used = 0;
    chars
        .take_while(|&c| {
            used += column_width(c);
            used <= max
        })
        .collect()
}

/// A tiny check for tests: every element is closed in order, and no bare `<` or `&` is left.
#[cfg(test)]
pub(in crate::evaluation) fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        for piece in rest[..start].split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|e| piece.starts_with(e)), "&{piece}");
        }
        let end = start + rest[start..].find('>').expect("an unclosed tag");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "broken tag <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closes what is not open");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "left open: {open:?} {rest}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_can_leave_it() {
        assert_eq!(
            escape("<a b='1' c=\"2\">&\u{1b}\n"),
            "&lt;a b=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn long_labels_are_cut_and_keep_their_whole_name() {
        assert_eq!(shorten("siren", 5), "siren");
        assert_eq!(shorten("sirens", 5), "sir…s");
        assert_eq!(shorten("🚨🚨🚨", 5), "🚨…");
        assert_eq!(shorten("sound class number 12", 12), "sound cl… 12");
        let mut svg = Svg::new(10.0, 10.0);
        svg.turned_text((0.0, 0.0), 0.0, 9.0, (Anchor::Start, Tone::Ink), "sir…s", "sirens");
        assert!(svg.finish("t").contains("<title>sirens</title>sir…s"));
    }

    #[test]
    fn lengths_have_two_decimals_and_no_minus_zero() {
        assert_eq!([1.0, 0.126, -0.001, 10.0, 12.5].map(number), ["1", "0.13", "0", "10", "12.5"]);
    }

    #[test]
    #[should_panic(expected = "closes what is not open")]
    fn the_check_finds_crossed_tags() {
        assert_well_formed("<a><b></a></b>");
    }
}
