"""The omniASR streaming server in its wheel; `omniasr-server` runs it."""
