use super::*;

fn gate(node: &str, port: Option<&str>, readers: &[&str], known: Known) -> Gate {
    let readers = readers.iter().map(|reader| (*reader).to_owned()).collect();
    Gate { node: node.into(), port: port.map(Into::into), readers, known, leads_to: 0 }
}

fn passed(rows: u64, dead: u64) -> Passed {
    Passed { rows, bytes: rows * 10, dead }
}

#[test]
fn edges_nodes_and_sinks_come_from_the_same_counts() {
    let gates = [
        gate("in", None, &["split"], Known::All),
        gate("eu", None, &[], Known::All),
        gate("rest", None, &[], Known::All),
        gate("split", Some("eu"), &["eu"], Known::All),
        gate("split", Some("rest"), &["rest"], Known::Rows),
    ];
    let counts = [passed(10, 1), passed(3, 0), passed(5, 0), passed(3, 2), passed(5, 0)];
    let report = |bytes| CommitReport { bytes, ..CommitReport::default() };
    let (nodes, edges) = told(&gates, &counts, &[report(70), report(80)]);
    let edge =
        |at: usize| (edges[at].from.as_str(), edges[at].port.as_deref(), edges[at].to.as_str(), edges[at].rows, edges[at].bytes);
    assert_eq!(edge(0), ("in", None, "split", Some(10), Some(100)));
    assert_eq!(edge(2), ("split", Some("rest"), "rest", Some(5), None));
    let names: Vec<_> = nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(names, ["in", "split", "eu", "rest"]);
    let split = &nodes[1];
    assert_eq!((split.rows_in, split.rows_out, split.rows_dead, split.bytes_out), (Some(10), Some(8), 2, None));
    assert_eq!((nodes[0].rows_in, nodes[0].rows_dead), (None, 1));
    assert_eq!((nodes[3].rows_in, nodes[3].rows_out, nodes[3].bytes_out), (Some(5), Some(5), Some(80)));
}

#[test]
fn what_is_not_known_stays_unknown() {
    let gates = [
        gate("a", None, &["join"], Known::All),
        gate("b", None, &["filter"], Known::All),
        gate("out", None, &[], Known::All),
        gate("filter", None, &["join"], Known::Nothing),
        gate("join", None, &["out"], Known::All),
    ];
    let (nodes, edges) = told(&gates, &[passed(4, 0), passed(5, 0), passed(6, 0), passed(0, 0), passed(6, 0)], &[]);
    let join = nodes.iter().find(|node| node.node == "join").unwrap();
    assert_eq!((join.rows_in, join.rows_out), (None, Some(6)));
    let edge = edges.iter().find(|edge| edge.from == "filter").unwrap();
    assert_eq!((edge.rows, edge.bytes), (None, None));
    assert_eq!(nodes.iter().find(|node| node.node == "out").unwrap().bytes_out, None, "the sink has not told");
}

#[test]
fn counts_of_another_graph_are_left_behind() {
    let old = [gate("in", None, &["out"], Known::All), gate("out", None, &[], Known::All)];
    let new = [gate("in", None, &["f"], Known::All), gate("out", None, &[], Known::All), gate("f", None, &["out"], Known::All)];
    let mut all = named(&old, &[passed(7, 0), passed(7, 0)]);
    add(&mut all, &named(&old, &[passed(1, 0), passed(1, 0)]));
    assert_eq!(of(&old, &all)[1].rows, 8);
    assert_eq!(of(&new, &all), vec![Passed::default(); 3]);
    add(&mut all, &[]);
    assert_eq!(all.len(), 2, "an epoch without rows changes nothing");
    add(&mut all, &named(&new, &[passed(2, 0), passed(1, 0), passed(1, 1)]));
    assert_eq!(of(&new, &all), [passed(2, 0), passed(1, 0), passed(1, 1)]);
}
