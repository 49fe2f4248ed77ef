//! From files to batches: readers, schemas, templates, tokens, packing, order.
