//! Model families as lists of trainable stages, and the files they are read from.
