//! Batches through outlets whose programs are written by hand.
