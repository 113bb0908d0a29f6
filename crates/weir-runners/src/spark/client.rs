//! The client of Apache Spark.
