"""The omniASR streaming server, as the wheel brings it: `omniasr-server` runs it."""
