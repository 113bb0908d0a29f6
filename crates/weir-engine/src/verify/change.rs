//! A flow's row program, on the way of rows that are compared: what the sink gets of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use weir_connect::verify::read::RowChange;
use weir_error::{Error, Result};
use weir_plan::{Flow, FlowInput, OutputWay, RowOutput, RowProgram};

/// See the module.
pub struct Through {
    program: Arc<dyn RowProgram>,
    /// Of the program's outputs.
    output: usize,
    /// What the program takes; `None`: whatever the reader gives.
    takes: Option<SchemaRef>,
    input: SchemaRef,
    made_of: Option<OutputWay>,
    gives: SchemaRef,
}

impl Through {
    /// What the flow gives to one of its outputs. A log's program is planned for columns that may all be NULL, so it is here.
    pub fn new(flow: &Flow, input: &FlowInput, program: &Arc<dyn RowProgram>, output: usize, gives: &SchemaRef) -> Result<Self> {
        let (program, takes) = match &flow.replan {
            Some(replan) => {
                let fields = input.stream.schema.fields().iter();
                let open: Vec<_> = fields.map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect();
                let takes = Arc::new(Schema::new_with_metadata(open, input.stream.schema.metadata().clone()));
                (replan.replan(&input.stream)?.program, Some(takes))
            }
            None => (program.clone(), None),
        };
        let ways = program.ways(input.stream.schema.fields().len());
        let made_of = ways.and_then(|mut ways| (output < ways.len()).then(|| ways.swap_remove(output)));
        Ok(Self { program, output, takes, input: input.stream.schema.clone(), made_of, gives: gives.clone() })
    }

    fn output(&self, rows: &RecordBatch) -> Result<RowOutput> {
        let taken = match &self.takes {
            Some(takes) => Some(fitted(rows, takes)?),
            None => None,
        };
        let mut outputs = self.program.apply(taken.as_ref().unwrap_or(rows))?;
        if self.output >= outputs.len() {
            return Err(Error::internal("the program has fewer outputs than the flow"));
        }
        Ok(outputs.swap_remove(self.output))
    }
}

/// The columns of this schema, by their names.
fn fitted(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |name: &String| {
        rows.column_by_name(name)
            .cloned()
            .ok_or_else(|| Error::internal(format!("`{name}` was planned for and is not among the rows")))
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Error::internal("rows do not fit the program that was planned for them").caused_by(error))
}

impl RowChange for Through {
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(self.output(rows)?.batch)
    }

    fn traced(&self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<usize>)> {
        let output = self.output(rows)?;
        let origins = (0..output.batch.num_rows()).map(|row| output.origin(row)).collect();
        Ok((output.batch, origins))
    }

    fn origin(&self, column: &str) -> Option<String> {
        let at = self.gives.index_of(column).ok()?;
        let from = self.made_of.as_ref()?.columns.get(at)?.same?;
        self.input.fields().get(from).map(|field| field.name().clone())
    }
}
