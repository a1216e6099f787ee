//! Columns of text. Pure.

/// The least that is left of a cell that is cut to the width of a terminal.
const LEAST_CUT: usize = 20;

/// Blanks between columns.
const GAP: usize = 2;

/// Columns of text, each as wide as its widest cell; one row is one line.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|text| (*text).to_owned()).collect()],
        }
    }

    /// Adds a row; an empty cell shows as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell })
                .collect(),
        );
    }

    /// The table as text without a final newline. With a `width`, the last cell of a line that is wider is cut, and ends with `…`.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths();
        let columns = widths.len();
        let before_last: usize = widths.iter().rev().skip(1).map(|width| width + GAP).sum();
        let room = width.map(|width| width.saturating_sub(before_last).max(LEAST_CUT));
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| match room {
                    Some(room) if column + 1 == columns => cut(cell, room),
                    _ => format!("{cell:<width$}"),
                })
                .collect();
            cells.join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The table as text of at most `width` columns, as far as its cells allow: columns that have no room follow below, each block with the first
    /// column again.
    pub(crate) fn render_in_blocks(&self, width: usize) -> String {
        let widths = self.widths();
        let Some((first, others)) = widths.split_first() else {
            return String::new();
        };
        let mut blocks: Vec<Vec<usize>> = vec![];
        let mut taken = usize::MAX;
        for (column, own) in (1..).zip(others) {
            taken = taken.saturating_add(own + GAP);
            match blocks.last_mut().filter(|_| taken <= width) {
                Some(block) => block.push(column),
                None => {
                    blocks.push(vec![column]);
                    taken = first + own + GAP;
                }
            }
        }
        if blocks.is_empty() {
            return self.render(None);
        }
        let of = |block: &Vec<usize>| {
            let columns = || std::iter::once(&0).chain(block);
            let rows = self.rows.iter();
            let rows = rows.map(|row| columns().filter_map(|column| row.get(*column).cloned()).collect());
            Self { rows: rows.collect() }.render(None)
        };
        blocks.iter().map(of).collect::<Vec<_>>().join("\n\n")
    }

    /// Of each column its widest cell.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(widest).collect()
    }
}

/// The text, cut to so many characters, the last of which is then `…`.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(room.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn table() -> Table {
        let mut table = Table::new(&["TASK", "REASON"]);
        table.row([
            "a-long-name".to_owned(),
            "because of something that takes many words".to_owned(),
        ]);
        table.row(["b".to_owned(), String::new()]);
        table
    }

    #[test]
    fn table_with_cells_of_different_width_aligns_columns() {
        assert_eq!(
            table().render(None),
            "TASK         REASON\na-long-name  because of something that takes many words\nb            -"
        );
    }

    #[test]
    fn table_on_a_narrow_terminal_cuts_the_last_column_only() {
        assert_eq!(
            table().render(Some(35)),
            "TASK         REASON\na-long-name  because of something …\nb            -"
        );
        assert!(table().render(Some(5)).contains("a-long-name  because of somethin…"));
    }

    #[test]
    fn table_that_is_too_wide_goes_on_below_with_its_first_column() {
        let mut table = Table::new(&["POLICY", "CPU", "MEMORY", "GPU"]);
        table.row(["random".to_owned(), "10".to_owned(), "20".to_owned(), "30".to_owned()]);
        assert_eq!(
            table.render_in_blocks(19),
            "POLICY  CPU  MEMORY\nrandom  10   20\n\nPOLICY  GPU\nrandom  30"
        );
        assert_eq!(table.render_in_blocks(100), table.render(None));
        assert_eq!(table.render_in_blocks(1).lines().count(), 8);
    }
}
