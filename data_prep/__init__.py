"""Raw files -> prepared data sets: `.npz` splits and a manifest (`python -m data_prep --help`)."""
