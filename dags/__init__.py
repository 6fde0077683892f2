"""What may drive the pipeline in place of the Lambda: see `music_streaming_pipeline`."""
