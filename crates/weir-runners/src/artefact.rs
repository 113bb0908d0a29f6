//! What a compiler makes: named files, and the variables that they expect.
