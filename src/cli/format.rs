//! `--format`: a table, JSON, or a template over the same rows.

use clap::Args;
use serde_json::{Map, Value};

use super::template::Template;
use super::{print, table};
use crate::cli::Result;

/// How a list is printed.
#[derive(Debug, Clone, Args)]
pub(super) struct Format {
    /// `table`, `json`, a Go template as in '{{.ID}}', or `table` and a template
    #[arg(long = "format", value_name = "FORMAT", default_value = "table")]
    #[arg(hide_default_value = true)]
    text: String,
}

/// What rows of a list have, under docker's names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    /// Each field, and its title in a table.
    pub titles: &'static [(&'static str, &'static str)],
    /// The table, where nothing else is said: a template.
    pub usual: &'static str,
}

impl Format {
    pub(super) fn is_table(&self) -> bool {
        self.text.starts_with("table")
    }

    /// Whether the rows must have this field, which takes long to find out.
    pub(super) fn mentions(&self, field: &str) -> Result<bool> {
        Ok(self.text == "json" || Template::parse(&self.text)?.mentions(field))
    }

    /// The list as text.
    ///
    /// # Errors
    /// Where the template is wrong.
    pub(super) fn list(&self, columns: Columns, rows: &[Value]) -> Result<String> {
        let template = match self.text.strip_prefix("table") {
            Some("") => return tabular(columns, columns.usual, rows),
            Some(template) if template.starts_with([' ', '\t']) => {
                return tabular(columns, template.trim_start(), rows);
            }
            _ if self.text == "json" => {
                return Ok(rows.iter().map(|row| format!("{row}\n")).collect());
            }
            _ => Template::parse(&self.text)?,
        };
        rows.iter().map(|row| Ok(template.render(row)? + "\n")).collect()
    }
}

fn tabular(columns: Columns, template: &str, rows: &[Value]) -> Result<String> {
    let template = Template::parse(template)?;
    let title = |&(field, title): &(&str, &str)| (field.to_owned(), title.into());
    let titles: Map<String, Value> = columns.titles.iter().map(title).collect();
    let cells = |row: &Value| -> Result<Vec<String>> {
        Ok(template.render(row)?.split('\t').map(str::to_owned).collect())
    };
    let header = cells(&Value::Object(titles))?;
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows = rows.iter().map(cells).collect::<Result<Vec<_>>>()?;
    Ok(table::render(&header, &rows))
}

/// How something is shown that is one JSON value.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Shown {
    /// `json` for one line, or a Go template as in '{{.State.Status}}'
    #[arg(short = 'f', long = "format", value_name = "FORMAT")]
    text: Option<String>,
}

impl Shown {
    /// Prints what was found: one list, or what the format makes of each.
    ///
    /// # Errors
    /// Where the template is wrong.
    pub(super) fn print(&self, found: Vec<Value>) -> Result<()> {
        match &self.text {
            None => print(&format!("{:#}\n", Value::Array(found))),
            Some(_) => found.iter().try_for_each(|value| self.print_one(value, String::new)),
        }
    }

    /// Prints one value; `usual` is its form for people.
    ///
    /// # Errors
    /// Where the template is wrong.
    pub(super) fn print_one(&self, value: &Value, usual: impl FnOnce() -> String) -> Result<()> {
        match self.text.as_deref() {
            None => print(&usual()),
            Some("json") => print(&format!("{value}\n")),
            Some(text) => print(&(Template::parse(text)?.render(value)? + "\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns = Columns {
        titles: &[("ID", "CONTAINER ID"), ("Names", "NAMES"), ("Labels", "LABELS")],
        usual: "{{.ID}}\t{{.Names}}",
    };

    fn list(text: &str) -> String {
        let rows = [
            json!({"ID": "1", "Names": "web", "Labels": "a=b"}),
            json!({"ID": "2", "Names": "database", "Labels": ""}),
        ];
        Format { text: text.to_owned() }.list(COLUMNS, &rows).unwrap()
    }

    #[test]
    fn lists_are_tables_json_or_what_a_template_makes() {
        assert_eq!(
            list("table"),
            "CONTAINER ID   NAMES\n1              web\n2              database\n"
        );
        assert_eq!(
            list("table {{.Names}}\\t{{.ID}}"),
            "NAMES      CONTAINER ID\nweb        1\ndatabase   2\n"
        );
        assert_eq!(list("{{.Names}}"), "web\ndatabase\n");
        assert_eq!(list("{{.Names}} {{.Label \"a\"}}"), "web b\ndatabase \n");
        assert!(list("json").starts_with("{\"ID\":\"1\",\"Labels\":\"a=b\",\"Names\":\"web\"}\n"));
        assert_eq!(list("tables"), "tables\ntables\n");
    }
}
