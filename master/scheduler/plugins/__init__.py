"""The scheduler's plugins, one file each; ``master.scheduler.profile`` lists them."""
