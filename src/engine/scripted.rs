//! An engine that plays a script instead of running anything: for tests of the session and of the screens.
