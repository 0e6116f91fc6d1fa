//! Encoded bytes → mono samples at the file's own rate, inside [`Limits`].

use std::io::{ErrorKind, Seek, SeekFrom};
use std::ops::Range;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::FORMAT_ID_MP3;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::Timestamp;
use symphonia::default::{get_codecs, get_probe};

use super::contain::contained;
use super::pcm::Pcm;
use super::recognise::{HEAD, refuse_known};
use super::source::{Budget, Media};
use super::{Error, Limits, Source, Waveform, chunk_lengths};

/// Largest absolute sample. Float files scaled like 32-bit integers pass; powers of larger values would not fit
/// a 32-bit float.
const MAX_SAMPLE: f32 = 4_294_967_296.0;

/// Most bytes of one text tag kept while reading metadata; pictures are not kept at all.
const MAX_TAG_BYTES: usize = 1 << 20;

/// Seconds decoded before a part that is reached by seeking: an mp3 frame needs data of the frames before it, a
/// vorbis packet overlaps the one before. (Frames of flac and pcm stand for themselves.)
const PREROLL_SECONDS: u64 = 1;

/// What a recording turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The file's own rate in Hz.
    pub sample_rate: u32,
    /// Channels before the mono mix.
    pub channels: usize,
    /// Short name of the codec, such as "pcm_s16le", "flac", "mp3" or "vorbis".
    pub codec: String,
    /// Duration of what was decoded, in seconds.
    pub seconds: f64,
    /// Why something is missing, when the file is cut off or damaged in places; one clause.
    pub damage: Option<String>,
}

/// Decodes the whole of `source` and mixes it to mono (the mean of the channels), at the file's own rate.
pub fn decode(source: &Source, limits: &Limits) -> Result<(Waveform, Info), Error> {
    decode_range(source, None, None, limits)
}

/// As [`decode`], for the part from `start` (seconds, default 0) lasting `duration` (seconds, default to the end;
/// a part that reaches beyond the end gives what is there).
pub fn decode_range(
    source: &Source,
    start: Option<f64>,
    duration: Option<f64>,
    limits: &Limits,
) -> Result<(Waveform, Info), Error> {
    let name = source.name().into_owned();
    let part = Part::new(&name, start, duration)?;
    let mut media = source.open(limits)?;
    let budget = media.budget();
    let missing = prepare(&name, &mut media)?;
    let decoded = contained(|| Decoding::open(&name, media, missing, limits)?.run(&part, &budget));
    match (budget.exceeded(), decoded) {
        // Symphonia may have taken the reader's refusal for the end of the file.
        (Some(reason), _) => Err(Error::Limit { name, reason: reason.to_owned() }),
        (None, None) => Err(Error::DecoderPanic { name }),
        (None, Some(result)) => result,
    }
}

/// Refuses what is known not to decode, and corrects stated lengths; returns what the file lacks.
fn prepare(name: &str, media: &mut Media) -> Result<Option<String>, Error> {
    let read = |source| Error::Read { name: name.to_owned(), source };
    refuse_known(name, &media.peek(0, HEAD).map_err(read)?)?;
    let missing = chunk_lengths::repair(media).map_err(read)?;
    media.seek(SeekFrom::Start(0)).map_err(read)?;
    Ok(missing)
}

/// The wanted part of a recording, in seconds.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: f64,
    duration: Option<f64>,
}

impl Part {
    fn new(name: &str, start: Option<f64>, duration: Option<f64>) -> Result<Self, Error> {
        let bad = |reason| Error::Range { name: name.to_owned(), reason };
        let start = start.unwrap_or(0.0);
        if !(start.is_finite() && start >= 0.0) {
            return Err(bad(format!("start {start} s is not a time within a recording")));
        }
        if let Some(duration) = duration.filter(|d| !(d.is_finite() && *d > 0.0)) {
            return Err(bad(format!("duration {duration} s is not longer than 0")));
        }
        Ok(Self { start, duration })
    }

    /// Frames to skip and frames to keep at `rate` Hz.
    fn frames(&self, rate: u32) -> (u64, u64) {
        let frames = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
        (frames(self.start), self.duration.map_or(u64::MAX, |d| frames(d).max(1)))
    }
}

/// One recording being decoded.
struct Decoding<'a> {
    name: &'a str,
    limits: &'a Limits,
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    /// Of codecs that need no decoder.
    pcm: Option<Pcm>,
    track: u32,
    rate: u32,
    channels: usize,
    /// Frames the container states, where it states them.
    announced: Option<u64>,
    /// Timestamp of the first frame, where timestamps count frames.
    first: Option<i64>,
    damage: Option<String>,
}

impl<'a> Decoding<'a> {
    /// Finds out the format from the bytes (never from the name) and prepares the decoder.
    fn open(name: &'a str, media: Media, damage: Option<String>, limits: &'a Limits) -> Result<Self, Error> {
        let stream = MediaSourceStream::new(Box::new(media), MediaSourceStreamOptions::default());
        let metadata = MetadataOptions::default()
            .limit_tag_bytes(Limit::Maximum(MAX_TAG_BYTES))
            .limit_visual_bytes(Limit::Maximum(0));
        let reader = get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), metadata)
            .map_err(|error| undecodable(name, &error))?;
        let (track, decoder, rate, channels) = start_track(name, reader.as_ref(), limits)?;
        // Of an mp3, only what a LAME tag says; without one the number is a guess from the bit rate.
        let stated = reader.format_info().format != FORMAT_ID_MP3 || track.delay.is_some();
        let announced = track.num_frames.filter(|_| stated);
        let counts_frames =
            track.time_base.is_some_and(|base| (base.numer.get(), base.denom.get()) == (1, rate));
        // What lies before 0 is the encoder's delay, which is trimmed.
        let first = counts_frames.then_some(track.start_ts.get().max(0));
        let pcm = Pcm::of(decoder.codec_params());
        let track = track.id;
        Ok(Self { name, limits, reader, decoder, pcm, track, rate, channels, announced, first, damage })
    }

    /// Decodes `part`.
    fn run(mut self, part: &Part, budget: &Budget) -> Result<(Waveform, Info), Error> {
        let (skip, keep) = part.frames(self.rate);
        let max_frames = self.limits.max_frames(self.rate);
        if let Some(all) = self.announced.filter(|all| skip > 0 && skip >= *all) {
            return Err(self.beyond_end(part, all));
        }
        let wanted = keep.min(self.announced.map_or(0, |all| all.saturating_sub(skip)));
        if wanted > max_frames {
            return Err(self.too_long());
        }
        let mut mix = MonoMix::new(skip, keep.min(max_frames.saturating_add(1)));
        // No file has more samples than bytes, unless it is compressed.
        mix.samples.reserve(wanted.min(budget.file_len()) as usize);
        self.seek(&mut mix)?;
        let (mut packets, mut failures, mut empty) = (0u64, 0u32, 0u32);
        while !mix.is_full() {
            let Some(packet) = self.next_packet()? else { break };
            packets += 1;
            if budget.check_time().is_err() {
                break;
            }
            if packets > self.limits.max_packets {
                return Err(self.limit(format!("has more than {} packets", self.limits.max_packets)));
            }
            let before = mix.position;
            if packet.track_id == self.track {
                failures = if self.decode_packet(&packet, &mut mix)? { 0 } else { failures + 1 };
                if failures > self.limits.max_decode_errors {
                    break;
                }
            }
            empty = if mix.position > before { 0 } else { empty + 1 };
            if empty > self.limits.max_empty_packets {
                let limit = self.limits.max_empty_packets;
                return Err(self.limit(format!("has more than {limit} packets in a row without sound")));
            }
        }
        if mix.samples.len() as u64 > max_frames {
            return Err(self.too_long());
        }
        self.finish(mix, part)
    }

    /// Jumps close to the first wanted frame instead of decoding all that lies before it.
    fn seek(&mut self, mix: &mut MonoMix) -> Result<(), Error> {
        let codec = self.decoder.codec_info().short_name;
        let needs_no_past = codec == "flac" || codec.starts_with("pcm_");
        let preroll = if needs_no_past { 0 } else { PREROLL_SECONDS * u64::from(self.rate) };
        // Less is decoded sooner than jumped over.
        let worthwhile = preroll.max(u64::from(self.rate) / 2);
        let (Some(first), Some(target)) =
            (self.first, mix.skip.checked_sub(preroll).filter(|t| *t > worthwhile))
        else {
            return Ok(());
        };
        let target = first.saturating_add_unsigned(target);
        let mut to = |ts| {
            let to = SeekTo::Timestamp { ts: Timestamp::new(ts), track_id: self.track };
            self.reader.seek(SeekMode::Accurate, to)
        };
        // Where there is no way to jump, back to the start.
        to(target).or_else(|_| to(first)).map_err(|error| undecodable(self.name, &error))?;
        self.decoder.reset();
        mix.landing = Some(first);
        Ok(())
    }

    /// The next packet of any track; nothing at the end of what can be read.
    fn next_packet(&mut self) -> Result<Option<Packet>, Error> {
        match self.reader.next_packet() {
            Ok(packet) => Ok(packet),
            // A chained Ogg file: another stream follows, with its own decoder.
            Err(Symphonia::ResetRequired) => {
                let (track, decoder, rate, _) = start_track(self.name, self.reader.as_ref(), self.limits)?;
                if rate != self.rate {
                    let reason = format!("its sample rate changes from {} Hz to {rate} Hz", self.rate);
                    return Err(Error::Undecodable { name: self.name.to_owned(), reason });
                }
                (self.track, self.pcm, self.decoder) = (track.id, Pcm::of(decoder.codec_params()), decoder);
                self.reader.next_packet().or_else(|error| self.end(&error).map(|()| None))
            }
            Err(error) => self.end(&error).map(|()| None),
        }
    }

    /// Takes an error of the container as the end of the recording, unless reading itself failed.
    fn end(&mut self, error: &Symphonia) -> Result<(), Error> {
        if let Symphonia::IoError(io) = error
            && io.kind() != ErrorKind::UnexpectedEof
        {
            let source = std::io::Error::new(io.kind(), io.to_string());
            return Err(Error::Read { name: self.name.to_owned(), source });
        }
        self.note_damage(error);
        Ok(())
    }

    /// Decodes one packet into `mix`; false when it cannot be decoded.
    fn decode_packet(&mut self, packet: &Packet, mix: &mut MonoMix) -> Result<bool, Error> {
        if let Some(pcm) = self.pcm {
            let frames = pcm.frames(&packet.data);
            mix.land(self.name, packet, frames)?;
            let wanted = mix.pass(frames);
            pcm.mix(&packet.data, wanted, &mut mix.samples);
            return Ok(true);
        }
        let error = match self.decoder.decode(packet) {
            Ok(buffer) => {
                let (rate, channels) = (buffer.spec().rate(), buffer.spec().channels().count());
                check_spec(self.name, rate, channels, self.limits)?;
                if rate != self.rate {
                    let reason = format!("its sample rate changes from {} Hz to {rate} Hz", self.rate);
                    return Err(Error::Undecodable { name: self.name.to_owned(), reason });
                }
                self.channels = channels;
                mix.land(self.name, packet, buffer.frames())?;
                mix.push(&buffer);
                return Ok(true);
            }
            Err(error) => error,
        };
        // What is damaged before the wanted part does not matter (just after a jump it is even expected).
        if mix.landing.is_none() && mix.position.saturating_add(packet.dur.get()) >= mix.skip {
            self.note_damage(&error);
        }
        Ok(false)
    }

    fn note_damage(&mut self, error: &Symphonia) {
        if self.damage.is_none() {
            self.damage = Some(describe(error));
        }
    }

    fn finish(mut self, mix: MonoMix, part: &Part) -> Result<(Waveform, Info), Error> {
        let name = self.name.to_owned();
        if let Some(all) = self.announced.filter(|all| !mix.is_full() && mix.position < *all) {
            let reason = || format!("it announces {all} samples and ends after {}", mix.position);
            self.damage.get_or_insert_with(reason);
        }
        let samples = mix.samples;
        if samples.is_empty() {
            return Err(match self.damage {
                _ if mix.position > 0 => self.beyond_end(part, mix.position),
                Some(reason) => Error::Undecodable { name, reason },
                None => Error::NoAudio { name },
            });
        }
        if let Some(index) = bad_sample(&samples) {
            return Err(Error::BadSample { name, index, value: samples[index] });
        }
        let waveform = Waveform { samples, sample_rate: self.rate };
        let info = Info {
            sample_rate: self.rate,
            channels: self.channels,
            codec: self.decoder.codec_info().short_name.to_owned(),
            seconds: waveform.seconds(),
            damage: self.damage,
        };
        Ok((waveform, info))
    }

    fn beyond_end(&self, part: &Part, frames: u64) -> Error {
        let seconds = frames as f64 / f64::from(self.rate);
        let reason = format!("start {} s lies beyond its end ({seconds:.3} s)", part.start);
        Error::Range { name: self.name.to_owned(), reason }
    }

    fn limit(&self, reason: String) -> Error {
        Error::Limit { name: self.name.to_owned(), reason }
    }

    fn too_long(&self) -> Error {
        let seconds = |frames: u64| frames as f64 / f64::from(self.rate);
        let limit = seconds(self.limits.max_frames(self.rate));
        let rate = self.rate;
        self.limit(match self.announced.map(seconds).filter(|all| *all > limit) {
            Some(all) => format!("lasts {all:.0} s; the limit is {limit:.0} s at {rate} Hz"),
            None => format!("lasts longer than the limit of {limit:.0} s at {rate} Hz"),
        })
    }
}

/// The first audio track with its decoder, rate and channels (0 when the container does not say).
fn start_track(
    name: &str,
    reader: &dyn FormatReader,
    limits: &Limits,
) -> Result<(Track, Box<dyn AudioDecoder>, u32, usize), Error> {
    let undecodable = |reason: &str| Error::Undecodable { name: name.to_owned(), reason: reason.to_owned() };
    let track = reader.default_track(TrackType::Audio).ok_or_else(|| undecodable("it has no audio track"))?;
    let params: &AudioCodecParameters = track
        .codec_params
        .as_ref()
        .and_then(|params| params.audio())
        .ok_or_else(|| undecodable("it does not say how its audio is encoded"))?;
    let rate = params.sample_rate.ok_or_else(|| undecodable("it does not state its sample rate"))?;
    let channels = params.channels.as_ref().map(|channels| channels.count());
    check_spec(name, rate, channels.unwrap_or(1), limits)?;
    let decoder = get_codecs()
        .make_audio_decoder(params, &AudioDecoderOptions::default())
        .map_err(|error| undecodable(&describe(&error)))?;
    Ok((track.clone(), decoder, rate, channels.unwrap_or(0)))
}

fn check_spec(name: &str, rate: u32, channels: usize, limits: &Limits) -> Result<(), Error> {
    let limit = |reason| Err(Error::Limit { name: name.to_owned(), reason });
    if !(limits.min_rate..=limits.max_rate).contains(&rate) {
        let (min, max) = (limits.min_rate, limits.max_rate);
        return limit(format!("has a sample rate of {rate} Hz; {min} to {max} Hz are accepted"));
    }
    if !(1..=limits.max_channels).contains(&channels) {
        return limit(format!("has {channels} channels; 1 to {} are accepted", limits.max_channels));
    }
    Ok(())
}

fn undecodable(name: &str, error: &Symphonia) -> Error {
    Error::Undecodable { name: name.to_owned(), reason: describe(error) }
}

/// A decoder's error as a clause.
fn describe(error: &Symphonia) -> String {
    match error {
        Symphonia::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        Symphonia::IoError(io) => io.to_string(),
        Symphonia::Unsupported(what) if what.contains("probe") => {
            "no wav, flac, aiff, mp3 or ogg vorbis audio was found in it".to_owned()
        }
        Symphonia::Unsupported(what) => format!("it uses a variant that is not supported ({what})"),
        Symphonia::DecodeError(what) => format!("its content is malformed ({what})"),
        Symphonia::LimitError(what) => format!("it exceeds a limit of the decoder ({what})"),
        other => other.to_string(),
    }
}

/// The first sample that no recording has.
fn bad_sample(samples: &[f32]) -> Option<usize> {
    let bad = |x: &f32| x.is_nan() || x.abs() > MAX_SAMPLE;
    // Blocks are looked at to their end, which goes several samples at a time.
    let block = samples.chunks(1024).position(|block| block.iter().fold(false, |found, x| found | bad(x)))?;
    (block * 1024..samples.len()).find(|i| bad(&samples[*i]))
}

/// Collects the mean of the channels, skipping the first frames and keeping at most so many.
struct MonoMix {
    samples: Vec<f32>,
    planes: Vec<Vec<f32>>,
    /// Frames seen so far.
    position: u64,
    skip: u64,
    keep: u64,
    /// After a jump: the timestamp of the first frame of all. The next sound tells how far from it the reader landed.
    landing: Option<i64>,
}

impl MonoMix {
    fn new(skip: u64, keep: u64) -> Self {
        Self { samples: Vec::new(), planes: Vec::new(), position: 0, skip, keep, landing: None }
    }

    fn is_full(&self) -> bool {
        self.samples.len() as u64 >= self.keep
    }

    /// Finds out where a packet of so many frames lies, if that is open.
    fn land(&mut self, name: &str, packet: &Packet, frames: usize) -> Result<(), Error> {
        let Some(first) = self.landing.take_if(|_| frames > 0) else { return Ok(()) };
        self.position = packet.pts.get().saturating_sub(first).max(0).unsigned_abs();
        if self.position > self.skip {
            let reason = "its timestamps contradict each other".to_owned();
            return Err(Error::Undecodable { name: name.to_owned(), reason });
        }
        Ok(())
    }

    /// Goes past the next frames; those of them that are wanted.
    fn pass(&mut self, frames: usize) -> Range<usize> {
        let frames = frames as u64;
        let begin = self.skip.saturating_sub(self.position).min(frames);
        let room = self.keep - (self.samples.len() as u64).min(self.keep);
        let end = begin + room.min(frames - begin);
        self.position += frames;
        begin as usize..end as usize
    }

    fn push(&mut self, buffer: &GenericAudioBufferRef<'_>) {
        let wanted = self.pass(buffer.frames());
        if wanted.is_empty() {
            return;
        }
        buffer.copy_to_vecs_planar(&mut self.planes);
        match self.planes.as_slice() {
            [mono] => self.samples.extend_from_slice(&mono[wanted]),
            planes => {
                let channels = planes.len() as f32;
                // Summed in channel order, as numpy's mean over the channel axis.
                let sum = |i: usize| planes.iter().fold(0.0, |sum, plane| sum + plane[i]);
                self.samples.extend(wanted.map(|i| sum(i) / channels));
            }
        }
    }
}
