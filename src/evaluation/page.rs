//! Self-contained HTML pages from the templates beside this file.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::Error;

/// Style sheet of every page.
const STYLE: &str = include_str!("page.css");

/// Numbers and warnings, for templates to include.
const TILES: &str = include_str!("tiles.html");

/// Renders a template. Everything in `values` is escaped but what was marked safe.
pub(super) fn render(name: &'static str, template: &str, values: Value) -> Result<String, Error> {
    let error = |e: minijinja::Error| Error::Page { name, message: format!("{e:#}") };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_global("style", safe(STYLE));
    environment.add_global("version", env!("CARGO_PKG_VERSION"));
    environment.add_template("tiles.html", TILES).map_err(error)?;
    environment.render_named_str(name, template, values).map_err(error)
}

/// Text that is already HTML, an SVG plot for instance.
pub(super) fn safe(html: impl Into<String>) -> Value {
    Value::from_safe_string(html.into())
}

/// A share as `87.3 %`; a dash when it was not measured.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { "–".to_owned() }
}

/// Seconds as `45 s`, `12 min 05 s` or `3 h 20 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `5634826` → `5,634,826`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_text_and_keeps_what_is_safe() {
        let values = minijinja::context! { text => "<script>", plot => safe("<svg/>") };
        assert_eq!(render("t", "{{ text }}{{ plot }}", values).unwrap(), "&lt;script&gt;<svg/>");
    }

    #[test]
    fn a_forgotten_value_is_an_error() {
        let error = render("t", "{{ absent }}", minijinja::context! {}).unwrap_err().to_string();
        assert!(error.contains("page t cannot be rendered"), "{error}");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([7, 999, 1000, 5_634_826].map(thousands), ["7", "999", "1,000", "5,634,826"]);
        let texts = [0.04, 9.94, 9.96, 59.4, 59.6, 725.0, 12_000.0].map(duration);
        assert_eq!(texts, ["0.0 s", "9.9 s", "10 s", "59 s", "1 min 00 s", "12 min 05 s", "3 h 20 min"]);
        assert_eq!([percent(0.8734), percent(f64::NAN)], ["87.3 %", "–"]);
    }
}
