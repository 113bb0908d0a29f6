//! Plain aligned columns, never wider than the terminal.

use super::style;

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table that is being filled.
pub struct Table {
    header: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

/// The narrowest a column is squeezed to before columns are left out: a time in full.
const NARROWEST: usize = 20;

impl Table {
    pub fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let header: Vec<String> = header.into_iter().map(Into::into).collect();
        Self { align: vec![Align::Left; header.len()], header, rows: Vec::new(), indent: 0 }
    }

    /// Aligns a column to the right.
    pub fn right(mut self, column: usize) -> Self {
        self.align[column] = Align::Right;
        self
    }

    pub fn indent(mut self, columns: usize) -> Self {
        self.indent = columns;
        self
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| one_line(&cell.into())).collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
    }

    /// The table as text, each line ended. Cells that do not fit are shortened with `…`; columns that do not fit at all are
    /// left out from the right, and the last line says how many.
    pub fn render(&self) -> String {
        self.render_within(style::width())
    }

    pub fn render_within(&self, width: usize) -> String {
        let natural: Vec<usize> = (0..self.header.len())
            .map(|c| {
                self.rows.iter().map(|row| row[c].chars().count()).chain([self.header[c].chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let (widths, left_out) = fit(&natural, width.saturating_sub(self.indent));
        let mut out = String::new();
        if self.header.iter().any(|name| !name.is_empty()) {
            self.line(&mut out, &self.header, &widths);
        }
        for row in &self.rows {
            self.line(&mut out, row, &widths);
        }
        if left_out > 0 {
            let noun = if left_out == 1 { "column does" } else { "columns do" };
            out.push_str(&format!("{}({left_out} more {noun} not fit; --json shows all)\n", " ".repeat(self.indent)));
        }
        out
    }

    fn line(&self, out: &mut String, cells: &[String], widths: &[usize]) {
        let mut line = " ".repeat(self.indent);
        for (index, &width) in widths.iter().enumerate() {
            if width == 0 {
                continue;
            }
            if index > 0 {
                line.push_str("  ");
            }
            let cell = shorten(&cells[index], width);
            let gap = " ".repeat(width - cell.chars().count());
            match self.align[index] {
                Align::Left => {
                    line.push_str(&cell);
                    line.push_str(&gap);
                }
                Align::Right => {
                    line.push_str(&gap);
                    line.push_str(&cell);
                }
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Widths that fit, and how many columns are left out.
fn fit(natural: &[usize], width: usize) -> (Vec<usize>, usize) {
    let mut shown = natural.len();
    while shown > 1 && natural[..shown].iter().map(|w| w.min(&NARROWEST) + 2).sum::<usize>() > width + 2 {
        shown -= 1;
    }
    let mut widths = natural[..shown].to_vec();
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    while total(&widths) > width {
        let Some(widest) = widths.iter_mut().max() else { break };
        if *widest <= NARROWEST {
            break;
        }
        *widest -= 1;
    }
    (widths, natural.len() - shown)
}

/// The text in at most `width` characters.
pub fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Line breaks and control characters shown as what they are, so that a cell stays in its row and cannot move the cursor.
pub fn one_line(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_string();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut table = Table::new(["name", "rows"]).right(1).indent(2);
        table.row(["flights", "336,776"]);
        table.row(["x", "1"]);
        assert_eq!(table.render_within(80), "  name        rows\n  flights  336,776\n  x              1\n");
    }

    #[test]
    fn a_table_is_never_wider_than_asked_and_says_what_it_hides() {
        let names: Vec<String> = (0..12).map(|i| format!("column_number_{i}")).collect();
        let mut table = Table::new(names.clone());
        table.row(names);
        let text = table.render_within(60);
        assert!(text.lines().take(2).all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("9 more columns do not fit"), "{text}");
    }

    #[test]
    fn control_characters_cannot_move_the_cursor() {
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
    }
}
